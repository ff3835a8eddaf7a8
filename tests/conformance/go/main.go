// Go's clientv3 and its recipes against a cluster: a line for each that went well.
//
// The argument is the endpoints, joined by commas. After "working" somebody may kill members, one at
// a time, for as long as the program runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
)

const (
	atWork     = 20 * time.Second
	patience   = 3 * time.Minute
	workers    = 4
	accounts   = 5
	perAccount = 100
)

var (
	endpoints []string
	deadline  time.Time
)

func main() {
	endpoints = strings.Split(os.Args[1], ",")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := connect()
	defer client.Close()
	_, err := client.Delete(ctx, "go/", clientv3.WithPrefix())
	check("delete", err)
	deadline = time.Now().Add(atWork)
	fmt.Println("working")
	together(map[string]func(context.Context){
		"mutex": mutexes, "election": elections, "stm": transfers, "namespace": namespaces,
		"mirror": mirrors, "ordering": ordered, "leasing": leased,
	}, ctx)
}

func connect() *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    2 * time.Second,
		DialKeepAliveTimeout: 2 * time.Second,
	})
	check("connect", err)
	return client
}

func together(recipes map[string]func(context.Context), ctx context.Context) {
	var all sync.WaitGroup
	for name, recipe := range recipes {
		all.Go(func() {
			recipe(ctx)
			fmt.Println(name)
		})
	}
	all.Wait()
}

func check(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func demand(holds bool, what string, args ...any) {
	if !holds {
		check("does not hold", fmt.Errorf(what, args...))
	}
}

// again repeats what may be repeated until it succeeds: a member was killed meanwhile.
func again(ctx context.Context, what string, call func(context.Context) error) {
	for {
		one, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := call(one)
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			check(what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func number(ctx context.Context, kv clientv3.KV, key string) int {
	found := 0
	again(ctx, key, func(ctx context.Context) error {
		resp, err := kv.Get(ctx, key)
		if err == nil && len(resp.Kvs) > 0 {
			found, err = strconv.Atoi(string(resp.Kvs[0].Value))
		}
		return err
	})
	return found
}

// mutexes: what is read and written under the lock, and only while it is owned, is never lost.
func mutexes(ctx context.Context) {
	var all sync.WaitGroup
	counted := make([]int, workers)
	for w := range workers {
		all.Go(func() { counted[w] = countUnderLock(ctx) })
	}
	all.Wait()
	sum := 0
	for _, each := range counted {
		sum += each
	}
	client := connect()
	defer client.Close()
	found := number(ctx, client, "go/counter")
	// An increment whose answer got lost is not counted here, and may have happened.
	demand(found >= sum && sum > 0, "%d increments under the lock, %d found", sum, found)
}

func countUnderLock(ctx context.Context) int {
	client := connect()
	defer client.Close()
	counted := 0
	for time.Now().Before(deadline) {
		session, err := concurrency.NewSession(client, concurrency.WithTTL(5))
		if err != nil {
			continue
		}
		mutex := concurrency.NewMutex(session, "go/lock/")
		for time.Now().Before(deadline) && mutex.Lock(ctx) == nil {
			before := number(ctx, client, "go/counter")
			one, cancel := context.WithTimeout(ctx, 10*time.Second)
			resp, err := client.Txn(one).If(mutex.IsOwner()).
				Then(clientv3.OpPut("go/counter", strconv.Itoa(before+1))).Commit()
			cancel()
			if err == nil && resp.Succeeded {
				counted++
			}
			if mutex.Unlock(ctx) != nil {
				break
			}
		}
		session.Close()
	}
	return counted
}

// elections: every leader is seen by the observer, in order of its revision.
func elections(ctx context.Context) {
	client := connect()
	defer client.Close()
	watching, stop := context.WithCancel(ctx)
	session, err := concurrency.NewSession(client, concurrency.WithTTL(30))
	check("observer", err)
	seen := concurrency.NewElection(session, "go/elected/").Observe(watching)
	last, terms := int64(0), 0
	for time.Now().Before(deadline) {
		again(ctx, "campaign", func(ctx context.Context) error {
			mine, err := concurrency.NewSession(client, concurrency.WithTTL(10))
			if err != nil {
				return err
			}
			defer mine.Close()
			elected := concurrency.NewElection(mine, "go/elected/")
			if err := elected.Campaign(ctx, "me"); err != nil {
				return err
			}
			terms++
			demand(elected.Rev() > last, "elected at %d after %d", elected.Rev(), last)
			last = elected.Rev()
			return elected.Resign(ctx)
		})
	}
	observed := <-seen
	demand(len(observed.Kvs) == 1, "nobody was observed in %d terms", terms)
	stop()
	session.Close()
}

// transfers: the sum of the accounts stays what it was.
func transfers(ctx context.Context) {
	client := connect()
	defer client.Close()
	account := func(n int) string { return "go/account/" + strconv.Itoa(n%accounts) }
	for n := range accounts {
		again(ctx, "account", func(ctx context.Context) error {
			_, err := client.Put(ctx, account(n), strconv.Itoa(perAccount))
			return err
		})
	}
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for n := w; time.Now().Before(deadline); n++ {
				one, cancel := context.WithTimeout(ctx, 10*time.Second)
				concurrency.NewSTM(client, func(stm concurrency.STM) error {
					from, _ := strconv.Atoi(stm.Get(account(n)))
					to, _ := strconv.Atoi(stm.Get(account(n + 1)))
					stm.Put(account(n), strconv.Itoa(from-1))
					stm.Put(account(n+1), strconv.Itoa(to+1))
					return nil
				}, concurrency.WithAbortContext(one), concurrency.WithIsolation(concurrency.SerializableSnapshot))
				cancel()
			}
		})
	}
	all.Wait()
	sum := 0
	for n := range accounts {
		sum += number(ctx, client, account(n))
	}
	demand(sum == accounts*perAccount, "the accounts have %d", sum)
}

// namespaces: a prefix is neither seen nor left.
func namespaces(ctx context.Context) {
	client := connect()
	defer client.Close()
	kv := namespace.NewKV(client, "go/space/")
	watcher := namespace.NewWatcher(client, "go/space/")
	events := watcher.Watch(ctx, "k")
	again(ctx, "put", func(ctx context.Context) error { _, err := kv.Put(ctx, "k", "7"); return err })
	demand(number(ctx, client, "go/space/k") == 7 && number(ctx, kv, "k") == 7, "the key is elsewhere")
	for response := range events {
		check("watch", response.Err())
		if len(response.Events) > 0 {
			demand(string(response.Events[0].Kv.Key) == "k", "the event's key has its prefix")
			break
		}
	}
	watcher.Close()
}

// mirrors: what was there and every change since make the same keys.
func mirrors(ctx context.Context) {
	client := connect()
	defer client.Close()
	for n := range 50 {
		again(ctx, "put", func(ctx context.Context) error {
			_, err := client.Put(ctx, fmt.Sprintf("go/mirrored/%d", n), "before")
			return err
		})
	}
	copied := map[string]string{}
	syncer := mirror.NewSyncer(client, "go/mirrored/", 0)
	base, failed := syncer.SyncBase(ctx)
	for response := range base {
		for _, kv := range response.Kvs {
			copied[string(kv.Key)] = string(kv.Value)
		}
	}
	check("base", <-failed)
	updates := syncer.SyncUpdates(ctx)
	written := 0
	for ; time.Now().Before(deadline); written++ {
		again(ctx, "put", func(ctx context.Context) error {
			_, err := client.Put(ctx, fmt.Sprintf("go/mirrored/%d", written%70), strconv.Itoa(written))
			return err
		})
	}
	again(ctx, "put", func(ctx context.Context) error {
		_, err := client.Put(ctx, "go/mirrored/end", "")
		return err
	})
	for response := range updates {
		check("updates", response.Err())
		for _, event := range response.Events {
			copied[string(event.Kv.Key)] = string(event.Kv.Value)
		}
		if _, ended := copied["go/mirrored/end"]; ended {
			break
		}
	}
	again(ctx, "get", func(ctx context.Context) error {
		there, err := client.Get(ctx, "go/mirrored/", clientv3.WithPrefix())
		if err != nil {
			return err
		}
		demand(len(there.Kvs) == len(copied), "%d keys there, %d mirrored", len(there.Kvs), len(copied))
		for _, kv := range there.Kvs {
			demand(copied[string(kv.Key)] == string(kv.Value), "%s is not what it is", kv.Key)
		}
		return nil
	})
}

// ordered: serializable reads of whatever member never go back.
func ordered(ctx context.Context) {
	client := connect()
	defer client.Close()
	violated := ordering.NewOrderViolationSwitchEndpointClosure(client)
	kv := ordering.NewKV(client.KV, violated)
	last := 0
	for n := 1; time.Now().Before(deadline); n++ {
		again(ctx, "put", func(ctx context.Context) error {
			_, err := kv.Put(ctx, "go/ordered", strconv.Itoa(n))
			return err
		})
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		resp, err := kv.Get(one, "go/ordered", clientv3.WithSerializable())
		cancel()
		if err != nil || len(resp.Kvs) == 0 {
			continue
		}
		found, err := strconv.Atoi(string(resp.Kvs[0].Value))
		check("ordered", err)
		demand(found >= last, "%d was read after %d", found, last)
		last = found
	}
	demand(last > 0, "nothing was read")
}

// leased: reads answered from a leased copy see this client's writes.
func leased(ctx context.Context) {
	client := connect()
	defer client.Close()
	kv, closeKV, err := leasing.NewKV(client, "go/leasing/", concurrency.WithTTL(5))
	check("leasing", err)
	defer closeKV()
	for n := 1; time.Now().Before(deadline); n++ {
		one, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := kv.Put(one, "go/leased", strconv.Itoa(n))
		cancel()
		if err != nil {
			demand(!errors.Is(err, context.Canceled), "%v", err)
			continue
		}
		found := number(ctx, kv, "go/leased")
		demand(found == n, "%d was written and %d read", n, found)
	}
}
