// Package testserver is what Kubernetes' storage tests start their etcd with; this one starts the
// command in ETCD_COMMAND instead of an etcd in the test's own process.
package testserver

import (
	"bufio"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

const ready = "ready to serve client requests"

// NewTestConfig is a configuration with free ports and a folder of the test's own.
func NewTestConfig(t testing.TB) *embed.Config {
	cfg := embed.NewConfig()
	at := []url.URL{free(t), free(t)}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = at[:1], at[:1]
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = at[1:], at[1:]
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.Dir = t.TempDir()
	return cfg
}

func free(t testing.TB) url.URL {
	found, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	return url.URL{Scheme: "http", Host: found.Addr().String()}
}

// RunEtcd starts the command until the end of the test, and returns a client of it.
func RunEtcd(t testing.TB, cfg *embed.Config) *kubernetes.Client {
	t.Helper()
	if cfg == nil {
		cfg = NewTestConfig(t)
	}
	words := append(strings.Fields(os.Getenv("ETCD_COMMAND")), flags(cfg)...)
	command := exec.Command(words[0], words[1:]...)
	log, err := command.StderrPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	serving := make(chan bool)
	go follow(bufio.NewScanner(log), serving)
	select {
	case <-serving:
	case <-time.After(time.Minute):
		t.Fatal("it took too long to start")
	}
	return connect(t, cfg)
}

func flags(cfg *embed.Config) []string {
	found := []string{
		"--name", cfg.Name, "--data-dir", cfg.Dir, "--initial-cluster", cfg.InitialCluster,
		"--listen-client-urls", text(cfg.ListenClientUrls),
		"--advertise-client-urls", text(cfg.AdvertiseClientUrls),
		"--listen-peer-urls", text(cfg.ListenPeerUrls),
		"--initial-advertise-peer-urls", text(cfg.AdvertisePeerUrls),
	}
	for flag, file := range map[string]string{
		"--cert-file": cfg.ClientTLSInfo.CertFile, "--key-file": cfg.ClientTLSInfo.KeyFile,
		"--trusted-ca-file": cfg.ClientTLSInfo.TrustedCAFile,
	} {
		if file != "" {
			found = append(found, flag, file)
		}
	}
	return append(found, "--watch-progress-notify-interval", cfg.WatchProgressNotifyInterval.String())
}

func text(urls []url.URL) string {
	var all []string
	for _, each := range urls {
		all = append(all, each.String())
	}
	return strings.Join(all, ",")
}

func follow(lines *bufio.Scanner, serving chan bool) {
	told := false
	for lines.Scan() {
		if !told && strings.Contains(lines.Text(), ready) {
			told = true
			close(serving)
		}
	}
}

func connect(t testing.TB, cfg *embed.Config) *kubernetes.Client {
	tls, err := cfg.ClientTLSInfo.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.New(clientv3.Config{
		TLS: tls, Endpoints: []string{text(cfg.AdvertiseClientUrls)}, DialTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	recorder := storagetesting.NewKubernetesRecorder(client.Kubernetes)
	client.KV = storagetesting.NewKVRecorder(client.KV, recorder)
	client.Kubernetes = recorder
	return client
}
