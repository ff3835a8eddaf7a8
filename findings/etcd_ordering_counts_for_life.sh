#!/bin/sh
# etcd's Go client 3.7.3, `ordering`: the retries of NewOrderViolationSwitchEndpointClosure are for
# the life of the client; a put does not count as seen.
#
# Expected: each stale answer is asked again at the other endpoints, some five times for each of
# them, before ErrNoGreaterRev ("no cluster members have a revision higher than the previously
# received revision"). The count is never set back: with one endpoint, six stale answers, however
# far apart, each mended by asking again. From then on every read whose first answer is stale fails
# at once, for ever:
#
#     stale once, then fresh, twelve times: read 1 to 6 ok, 7 to 12 ErrNoGreaterRev
#
# And a client that has put at revision 100 takes the state of revision 99 without a word: only Get
# and Txn remember revisions, not Put and Delete, so a client does not read its own writes.
#
#     put at 100, get at 99: ok     get at 100, get at 99: asked again
set -eu
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
cat > main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	client "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/ordering"
)

// members answer with these revisions, one after the other, as a fresh and a lagging one would.
type members struct {
	client.KV
	revisions []int64
}

func (m *members) next() *pb.ResponseHeader {
	revision := m.revisions[0]
	m.revisions = m.revisions[1:]
	return &pb.ResponseHeader{Revision: revision}
}

func (m *members) Do(context.Context, client.Op) (client.OpResponse, error) {
	return (&client.GetResponse{Header: m.next()}).OpResponse(), nil
}

func (m *members) Put(context.Context, string, string, ...client.OpOption) (*client.PutResponse, error) {
	return &client.PutResponse{Header: m.next()}, nil
}

func main() {
	ctx := context.Background()
	some, err := client.New(client.Config{Endpoints: []string{"127.0.0.1:9"}}) // never connected
	if err != nil {
		panic(err)
	}
	behind := &members{revisions: []int64{100}}
	kv := ordering.NewKV(behind, ordering.NewOrderViolationSwitchEndpointClosure(some))
	_, _ = kv.Get(ctx, "k")
	served := 0
	for range 12 {
		behind.revisions = []int64{99, 100}
		if _, err := kv.Get(ctx, "k"); err == nil {
			served++
		} else if !errors.Is(err, ordering.ErrNoGreaterRev) {
			panic(err)
		}
	}
	asked := 0
	violated := func(client.Op, client.OpResponse, int64) error { asked++; return nil }
	writer := ordering.NewKV(&members{revisions: []int64{100, 99}}, violated)
	_, _ = writer.Put(ctx, "k", "")
	_, _ = writer.Get(ctx, "k")
	afterPut := asked
	reader := ordering.NewKV(&members{revisions: []int64{100, 99, 100}}, violated)
	_, _ = reader.Get(ctx, "k")
	_, _ = reader.Get(ctx, "k")
	fmt.Printf("served %d of 12; asked again after a put: %d, after a get: %d\n", served, afterPut, asked)
	if served != 6 || afterPut != 0 || asked != 1 {
		os.Exit(1)
	}
}
GO
go mod init finding > log 2>&1
go get go.etcd.io/etcd/client/v3@v3.7.3 >> log 2>&1 || { cat log; exit 2; }
go run .
