#!/bin/sh
# etcd 3.7.3: in a nested transaction, reads see what was put before them, comparisons do not.
#
# Expected: one or the other. The operations of a transaction are made one after the other, each
# on what those before it have left, so an inner transaction after a put should find the key:
#
#     Then(put k, get k)                                      k, version 1
#     Then(put k, Txn.If(Version(k) > 0).Then(get k))         inner Succeeded false, nothing is read
#     Then(put k, Txn.If(Version(k) = 0).Then(get k))         inner Succeeded true, reads k, version 1
#
# The last one compares that there is no k, and then reads it. All comparisons, of all depths, are
# made before the first operation. Neither the API's documentation nor rpc.proto says so.
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

func main() {
	etcd, kv := start(os.Args[1])
	defer etcd.Close()
	ctx, found := context.Background(), []string{}
	put, get := client.OpPut("k", ""), client.OpGet("k")
	after := must(kv.Txn(ctx).Then(put, get).Commit()).Responses[1].GetResponseRange().Kvs
	found = append(found, fmt.Sprint("get version ", after[0].Version))
	for _, result := range []string{">", "="} {
		must(kv.Delete(ctx, "k"))
		compare := []client.Cmp{client.Compare(client.Version("k"), result, 0)}
		inner := client.OpTxn(compare, []client.Op{get}, nil)
		answer := must(kv.Txn(ctx).Then(put, inner).Commit()).Responses[1].GetResponseTxn()
		told := fmt.Sprintf("version %s 0 %t", result, answer.Succeeded)
		for _, response := range answer.Responses {
			told += fmt.Sprint(", get version ", response.GetResponseRange().Kvs[0].Version)
		}
		found = append(found, told)
	}
	fmt.Printf("%q\n", found)
	if !slices.Equal(found, []string{
		"get version 1", "version > 0 false", "version = 0 true, get version 1",
	}) {
		os.Exit(1)
	}
}
GO
go mod init finding > log 2>&1
go get go.etcd.io/etcd/server/v3@v3.7.3 go.etcd.io/etcd/client/v3@v3.7.3 >> log 2>&1 || { cat log; exit 2; }
go run . "$folder/data"
