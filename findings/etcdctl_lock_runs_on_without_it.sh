#!/bin/sh
# etcdctl 3.7.3: `lock NAME COMMAND` ends with 0 although the lock was lost, and taken by another,
# while the command ran.
#
# Expected: that it ends the command, as `consul lock` does, or tells it, or ends otherwise than
# with 0. Without a command etcdctl says "session expired" and ends with 1. The lease of the lock
# ends, as after a pause or a partition of 10 seconds:
#
#     lock L                   Error: session expired, exit code 1
#     lock L -- COMMAND        COMMAND runs on beside that of the next holder; no word, exit code 0
#
# To unlock, at the end, is to delete a key; that it is no longer there is no error.
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
	"os/exec"
	"time"

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
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	lock := func(command ...string) *exec.Cmd {
		endpoint := etcd.Clients[0].Addr().String()
		return exec.CommandContext(ctx, "./etcdctl",
			append([]string{"--endpoints", endpoint, "lock", "L"}, command...)...)
	}
	// lose waits until the lock is held, and ends its lease.
	lose := func(holder *exec.Cmd) {
		must(0, holder.Start())
		for {
			if held := must(kv.Get(ctx, "L/", client.WithPrefix())); held.Count == 1 {
				must(kv.Revoke(ctx, client.LeaseID(held.Kvs[0].Lease)))
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	alone := lock()
	lose(alone)
	_ = alone.Wait()

	first := lock("--", "sh", "-c", "until test -e go-on; do sleep 0.1; done; touch went-on")
	lose(first)
	second := lock("--", "test", "!", "-e", "went-on") // while the first one's command runs
	beside := second.Run() == nil
	must(0, os.WriteFile("go-on", nil, 0o600))
	_ = first.Wait()
	found := fmt.Sprintf("alone %d, beside the next holder %t, with a command %d",
		alone.ProcessState.ExitCode(), beside, first.ProcessState.ExitCode())
	fmt.Println(found)
	if found != "alone 1, beside the next holder true, with a command 0" {
		os.Exit(1)
	}
}
GO
go mod init finding > log 2>&1
go get go.etcd.io/etcd/server/v3@v3.7.3 go.etcd.io/etcd/client/v3@v3.7.3 \
    go.etcd.io/etcd/etcdctl/v3@v3.7.3 >> log 2>&1 || { cat log; exit 2; }
go build -o etcdctl go.etcd.io/etcd/etcdctl/v3
go run . "$folder/data"
