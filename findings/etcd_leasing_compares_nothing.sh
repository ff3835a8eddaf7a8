#!/bin/sh
# etcd's Go client 3.7.3, `leasing`: in a transaction, every equality holds for a key that is absent.
#
# Expected: what etcd answers, since the package promises linearizable reads and a leasing KV is a
# clientv3.KV. Once an absent key has been read, its absence is cached, and transactions whose
# branch only reads such keys are answered by the client. Of the key `owner`, which is nowhere:
#
#                                           etcd   leasing
#     Value("owner") = "me"                 false  true
#     Version("owner") = 7                  false  true
#     Version("owner") != 7                 true   false
#     Version("owner") < 7                  true   false
#     ModRevision("owner") > -1             true   false
#     If Version("owner") = 7, Else put it  put    not put, Succeeded
#
# The client compares 0 with nothing: the comparison is never made. So "am I still the owner?" is
# answered with yes after the owner's key is gone.
set -eu
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"

	client "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/server/v3/embed"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// start is an etcd of one member at free ports.
func start(folder string) (*embed.Etcd, *client.Client) {
	config := embed.NewConfig()
	config.Dir, config.LogLevel = folder, "fatal"
	free := []url.URL{*must(url.Parse("http://127.0.0.1:0"))}
	config.ListenClientUrls, config.AdvertiseClientUrls = free, free
	config.ListenPeerUrls, config.AdvertisePeerUrls = free, free
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd := must(embed.StartEtcd(config))
	<-etcd.Server.ReadyNotify()
	return etcd, must(client.New(client.Config{Endpoints: []string{etcd.Clients[0].Addr().String()}}))
}

func answers(kv client.KV) (found []bool) {
	ctx, owner := context.Background(), client.OpGet("owner")
	must(kv.Get(ctx, "owner"))
	for _, each := range []client.Cmp{
		client.Compare(client.Value("owner"), "=", "me"),
		client.Compare(client.Version("owner"), "=", 7),
		client.Compare(client.Version("owner"), "!=", 7),
		client.Compare(client.Version("owner"), "<", 7),
		client.Compare(client.ModRevision("owner"), ">", -1),
	} {
		found = append(found, must(kv.Txn(ctx).If(each).Then(owner).Else(owner).Commit()).Succeeded)
	}
	seventh := client.Compare(client.Version("owner"), "=", 7)
	must(kv.Txn(ctx).If(seventh).Then(owner).Else(client.OpPut("owner", "you")).Commit())
	put := len(must(kv.Get(ctx, "owner")).Kvs) == 1
	must(kv.Delete(ctx, "owner"))
	return append(found, put)
}

func main() {
	etcd, plain := start(os.Args[1])
	defer etcd.Close()
	cached, stop, err := leasing.NewKV(plain, "leasing/")
	must(0, err)
	defer stop()
	expected, seen := answers(plain), answers(cached)
	fmt.Println("etcd:   ", expected)
	fmt.Println("leasing:", seen)
	if !slices.Equal(expected, []bool{false, false, true, true, true, true}) ||
		!slices.Equal(seen, []bool{true, true, false, false, false, false}) {
		os.Exit(1)
	}
}
GO
go mod init finding > log 2>&1
go get go.etcd.io/etcd/server/v3@v3.7.3 go.etcd.io/etcd/client/v3@v3.7.3 >> log 2>&1 || { cat log; exit 2; }
go run . "$folder/data"
