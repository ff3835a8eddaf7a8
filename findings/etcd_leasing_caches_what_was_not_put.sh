#!/bin/sh
# etcd's Go client 3.7.3, `leasing`: a put that keeps the value empties it in the cache, and a key
# whose lease has ended is answered for as long as the client lives.
#
# Expected: reads as etcd's, which the package promises ("serves linearizable reads from a local
# cache") where all write through it, as here, where one client does all. It takes no key into its
# cache that has a lease, so it knows that such a key may vanish; that it gave the lease itself,
# to a key that it holds already, it does not see.
#
#                                           etcd            leasing
#     put k "value", get k                  "value"         "value"
#     put k with a lease, WithIgnoreValue
#     get k                                 "value", lease  "", no lease
#     the lease is revoked
#     get k                                 nothing         "", no lease
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

func answers(plain *client.Client, kv client.KV) (found []string) {
	ctx := context.Background()
	read := func() {
		told := "nothing"
		for _, pair := range must(kv.Get(ctx, "k")).Kvs {
			told = fmt.Sprintf("%q lease %t", pair.Value, pair.Lease != 0)
		}
		found = append(found, told)
	}
	must(kv.Get(ctx, "k"))
	must(kv.Put(ctx, "k", "value"))
	read()
	lease := must(plain.Grant(ctx, 600)).ID
	must(kv.Put(ctx, "k", "", client.WithIgnoreValue(), client.WithLease(lease)))
	read()
	must(plain.Revoke(ctx, lease))
	read()
	return found
}

func main() {
	etcd, plain := start(os.Args[1])
	defer etcd.Close()
	cached, stop, err := leasing.NewKV(plain, "leasing/")
	must(0, err)
	defer stop()
	expected, seen := answers(plain, plain), answers(plain, cached)
	fmt.Println("etcd:   ", expected)
	fmt.Println("leasing:", seen)
	if !slices.Equal(expected, []string{`"value" lease false`, `"value" lease true`, "nothing"}) ||
		!slices.Equal(seen, []string{`"value" lease false`, `"" lease false`, `"" lease false`}) {
		os.Exit(1)
	}
}
GO
go mod init finding > log 2>&1
go get go.etcd.io/etcd/server/v3@v3.7.3 go.etcd.io/etcd/client/v3@v3.7.3 >> log 2>&1 || { cat log; exit 2; }
go run . "$folder/data"
