#!/bin/sh
# etcdctl 3.7.3: `make-mirror --prefix P --rev N`, which goes on with a mirror, mirrors elsewhere.
#
# Expected: the keys that `make-mirror --prefix P` keeps, from revision N on. With --rev, and without
# --dest-prefix, each key loses its prefix, so that other keys are overwritten and deleted:
#
#                                 source            mirror, before    after --rev    expected
#     app/name                    "new"             "old"             "old"          "new"
#     name, of somebody else      none              "theirs"          "new"          "theirs"
#     app/gone                    deleted           "old"             "old"          none
#     gone, of somebody else      none              "theirs"          none           "theirs"
#
# The prefix of the destination is only taken from the source's where the whole is mirrored first.
# `--dest-prefix P` beside `--prefix P` helps. It is etcd's issue 22421 (open, September 2026), and
# the same since --rev came with 3.6.
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
	source, from := start(os.Args[1] + "/source")
	defer source.Close()
	mirror, to := start(os.Args[1] + "/mirror")
	defer mirror.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for key, value := range map[string]string{
		"app/name": "old", "app/gone": "old", "name": "theirs", "gone": "theirs",
	} {
		must(to.Put(ctx, key, value))
	}
	since := must(from.Put(ctx, "app/gone", "old")).Header.Revision + 1
	must(from.Delete(ctx, "app/gone"))
	must(from.Put(ctx, "app/name", "new"))

	command := exec.CommandContext(ctx, "./etcdctl", "--endpoints", source.Clients[0].Addr().String(),
		"make-mirror", "--prefix", "app/", "--rev", fmt.Sprint(since), mirror.Clients[0].Addr().String())
	next := client.WithRev(must(to.Get(ctx, "name")).Header.Revision + 1)
	must(0, command.Start())
	defer command.Process.Kill()
	came := 0
	for response := range to.Watch(ctx, "", client.WithPrefix(), next) {
		if came += len(response.Events); came == 2 { // the deletion and the put
			break
		}
	}
	_ = command.Process.Kill()
	found := ""
	for _, pair := range must(to.Get(ctx, "", client.WithPrefix())).Kvs {
		found += fmt.Sprintf("%s=%s ", pair.Key, pair.Value)
	}
	fmt.Println(found)
	if found != "app/gone=old app/name=old name=new " {
		os.Exit(1)
	}
}
GO
go mod init finding > log 2>&1
go get go.etcd.io/etcd/server/v3@v3.7.3 go.etcd.io/etcd/client/v3@v3.7.3 \
    go.etcd.io/etcd/etcdctl/v3@v3.7.3 >> log 2>&1 || { cat log; exit 2; }
go build -o etcdctl go.etcd.io/etcd/etcdctl/v3
go run . "$folder/data"
