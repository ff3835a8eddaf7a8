#!/bin/sh
# etcd's Go client 3.7.3, `concurrency`: ResumeElection is of another election than NewElection of
# the same name, and so two candidates lead at once.
#
# Expected: ResumeElection(session, "leader", …) goes on with what NewElection(session, "leader")
# began. NewElection's keys begin with "leader/", those of ResumeElection with "leader":
#
#     one  resumes its election, resigns and campaigns again   leads, key leader7587…
#     two  NewElection("leader"), campaigns                    leads, too, key leader/7587…
#     both Proclaim                                            without an error
#
# And the resumed one's Leader() is whoever leads any election whose name begins with its own:
#
#     resumed "leader" of nobody, while "leader-of-others" has a leader   Leader(): "another's"
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
	"go.etcd.io/etcd/client/v3/concurrency"
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	first, second := must(concurrency.NewSession(kv)), must(concurrency.NewSession(kv))

	others := concurrency.NewElection(second, "leader-of-others")
	must(0, others.Campaign(ctx, "another's"))
	one := concurrency.NewElection(first, "leader")
	must(0, one.Campaign(ctx, "one"))
	resumed := concurrency.ResumeElection(first, "leader", one.Key(), one.Rev())
	must(0, resumed.Resign(ctx))
	leader := string(must(resumed.Leader(ctx)).Kvs[0].Value)
	must(0, others.Resign(ctx))

	must(0, resumed.Campaign(ctx, "one"))
	two := concurrency.NewElection(second, "leader")
	soon, enough := context.WithTimeout(ctx, 20*time.Second)
	defer enough()
	both := two.Campaign(soon, "two") == nil &&
		resumed.Proclaim(ctx, "one leads") == nil && two.Proclaim(ctx, "two leads") == nil
	fmt.Printf("Leader(): %q; two lead at once: %t, as %s and %s\n", leader, both, resumed.Key(), two.Key())
	if leader != "another's" || !both {
		os.Exit(1)
	}
}
GO
go mod init finding > log 2>&1
go get go.etcd.io/etcd/server/v3@v3.7.3 go.etcd.io/etcd/client/v3@v3.7.3 >> log 2>&1 || { cat log; exit 2; }
go run . "$folder/data"
