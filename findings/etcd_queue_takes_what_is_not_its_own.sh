#!/bin/sh
# etcd's Go client 3.7.3, `experimental/recipes`: a Queue dequeues, and deletes, what is not its own.
#
# Expected: a queue named `jobs` has the keys below `jobs/`, where Enqueue puts them, as a
# PriorityQueue has. Dequeue takes the oldest of all keys that begin with `jobs`:
#
#     NewQueue("jobs-failed").Enqueue("of another queue"); put jobs.config "no item at all"
#
#     NewQueue("jobs").Dequeue()           "of another queue"
#     NewQueue("jobs").Dequeue()           "no item at all"       and the key is gone
#     NewPriorityQueue("jobs").Dequeue()   waits, as it has none
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
	"time"

	client "go.etcd.io/etcd/client/v3"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
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

// dequeue is an item, or that none comes.
func dequeue(queue interface{ Dequeue() (string, error) }) string {
	came := make(chan string, 1)
	go func() {
		item, _ := queue.Dequeue()
		came <- item
	}()
	select {
	case item := <-came:
		return item
	case <-time.After(5 * time.Second):
		return "waits"
	}
}

func main() {
	etcd, kv := start(os.Args[1])
	defer etcd.Close()
	ctx := context.Background()
	must(0, recipe.NewQueue(kv, "jobs-failed").Enqueue("of another queue"))
	must(kv.Put(ctx, "jobs.config", "no item at all"))
	priority := dequeue(recipe.NewPriorityQueue(kv, "jobs"))
	first := dequeue(recipe.NewQueue(kv, "jobs"))
	second := dequeue(recipe.NewQueue(kv, "jobs"))
	left := must(kv.Get(ctx, "jobs", client.WithPrefix())).Count
	fmt.Printf("priority queue: %s; queue: %s, %s; keys left: %d\n", priority, first, second, left)
	if priority != "waits" || first != "of another queue" || second != "no item at all" || left != 0 {
		os.Exit(1)
	}
}
GO
go mod init finding > log 2>&1
go get go.etcd.io/etcd/server/v3@v3.7.3 go.etcd.io/etcd/client/v3@v3.7.3 >> log 2>&1 || { cat log; exit 2; }
go run . "$folder/data"
