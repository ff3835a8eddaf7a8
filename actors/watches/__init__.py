"""Watches on the way from the applier to clients.

- feed.py          what the applier tells of watched ranges, and the messages between the two
- hub.py           hands it out to whoever watches; reads history for those that are behind
- connection.py    the watches of one client, and how much it has left unread
- ranges.py        which watches a key belongs to
"""
