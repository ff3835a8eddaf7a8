#!/bin/sh
# etcd 3.7.3: a sort target without a sort order sorts, ascending, but only after the limit has cut;
# a `get --stream` so sorted repeats keys and leaves others out.
#
# Expected: what it does without a limit, where a target without an order means ascending; or, as
# "no order" says, the order of the keys. Of e, d, c, b, a, put one after the other, by MOD:
#
#     no limit     no order  e d c b a    ascending  e d c b a
#     limit 1      no order  b            ascending  e
#     limit 2      no order  c b          ascending  e d
#     limit 3      no order  d c b        ascending  e d c
#
# One key more than the limit is read, in the order of the keys; these are sorted, and the last is
# dropped. With a limit of 1 it is neither the oldest key nor the first.
#
# RangeStream refuses to sort, but takes this for no sorting. It goes on behind the last key of a
# chunk, which after sorting is not the greatest: of 30 keys, put backwards, 56 come, 29 of them
# different, and no error. `etcdctl get --sort-by=MODIFY` sends a target without an order.
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

	client "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	config := embed.NewConfig()
	config.Dir, config.LogLevel = os.Args[1], "fatal"
	free := []url.URL{*must(url.Parse("http://127.0.0.1:0"))}
	config.ListenClientUrls, config.AdvertiseClientUrls = free, free
	config.ListenPeerUrls, config.AdvertisePeerUrls = free, free
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd := must(embed.StartEtcd(config))
	defer etcd.Close()
	<-etcd.Server.ReadyNotify()
	kv := must(client.New(client.Config{Endpoints: []string{etcd.Clients[0].Addr().String()}}))
	ctx := context.Background()

	seen := ""
	for _, key := range []string{"e", "d", "c", "b", "a"} {
		must(kv.Put(ctx, key, ""))
	}
	for limit := range int64(4) {
		for _, order := range []client.SortOrder{client.SortNone, client.SortAscend} {
			sort := client.WithSort(client.SortByModRevision, order)
			for _, pair := range must(kv.Get(ctx, "", client.WithPrefix(), client.WithLimit(limit), sort)).Kvs {
				seen += string(pair.Key)
			}
			seen += " "
		}
	}
	for number := 29; number >= 0; number-- {
		must(kv.Put(ctx, fmt.Sprintf("stream/%02d", number), ""))
	}
	came, different := 0, map[string]bool{}
	sort := client.WithSort(client.SortByModRevision, client.SortNone)
	for chunk := range must(kv.GetStream(ctx, "stream/", client.WithPrefix(), sort)) {
		must(0, chunk.Err())
		for _, pair := range chunk.RangeResponse.Kvs {
			came, different[string(pair.Key)] = came+1, true
		}
	}
	fmt.Println(seen)
	fmt.Println("of 30 keys", came, "came,", len(different), "different")
	if seen != "edcba edcba b e cb ed dcb edc " || came != 56 || len(different) != 29 {
		os.Exit(1)
	}
}
GO
go mod init finding > log 2>&1
go get go.etcd.io/etcd/server/v3@v3.7.3 go.etcd.io/etcd/client/v3@v3.7.3 >> log 2>&1 || { cat log; exit 2; }
go run . "$folder/data"
