package main

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// runEtcd runs an etcd of one member. It takes the few flags of the real program that
// matter here, with the same names.
func runEtcd(args []string) int {
	fs := flag.NewFlagSet("etcd", flag.ExitOnError)
	dir := fs.String("data-dir", "default.etcd", "data folder")
	client := fs.String("listen-client-urls", "https://127.0.0.1:2379", "one URL for clients")
	peer := fs.String("listen-peer-urls", "https://127.0.0.1:2380", "one URL for peers")
	cert := fs.String("cert-file", "", "certificate for clients and peers, which must show one too")
	key := fs.String("key-file", "", "its key")
	ca := fs.String("trusted-ca-file", "", "the authority that must have signed a client's certificate")
	noFsync := fs.Bool("unsafe-no-fsync", false, "never fsync: fast, and loses data when the machine crashes")
	quota := fs.Int64("quota-backend-bytes", 2<<30, "size at which writes are refused")
	level := fs.String("log-level", "warn", "debug, info, warn, error")
	_ = fs.Parse(args) // exits on error

	cfg := embed.NewConfig()
	cfg.Name = "local"
	cfg.Dir = *dir
	cfg.LogLevel = *level
	cfg.UnsafeNoFsync = *noFsync
	cfg.QuotaBackendBytes = *quota
	cfg.AutoCompactionMode = "periodic"
	cfg.AutoCompactionRetention = "1h"
	cfg.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // unset, each request logs a warning
	cfg.EnableGRPCGateway = false                                              // no client here uses etcd over JSON
	tls := transport.TLSInfo{CertFile: *cert, KeyFile: *key, TrustedCAFile: *ca, ClientCertAuth: true}
	cfg.ClientTLSInfo, cfg.PeerTLSInfo = tls, tls

	var err error
	urls := func(s string) []url.URL {
		u, e := url.Parse(s)
		if e != nil {
			err = e
			return nil
		}
		return []url.URL{*u}
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = urls(*client), urls(*client)
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = urls(*peer), urls(*peer)
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		return 2
	}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	return serveEtcd(cfg)
}

// serveEtcd runs etcd until it fails or a signal stops it.
func serveEtcd(cfg *embed.Config) int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		return 1
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(30 * time.Second):
		fmt.Fprintln(os.Stderr, "etcd: not ready after 30 s")
		return 1
	case <-stop:
		return 0
	}
	select {
	case err := <-server.Err():
		fmt.Fprintln(os.Stderr, "etcd:", err)
		return 1
	case <-stop:
		return 0
	}
}
