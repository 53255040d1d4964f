package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

const clusterFolder = "../../deploy/nats-cluster/"

// With the example's three servers a build is published whichever of them is
// gone, and nothing about them is unsafe.
func TestNATSCluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("elects leaders among three servers")
	}
	cluster := startCluster(t)
	s := cluster.newSystem(t)
	if log := s.log.String(); strings.Contains(log, "not as safe") || strings.Contains(log, "sync_interval cannot be read") {
		t.Error("the preflight has doubts about the example")
	}
	s.announce(sandbox.SampleNVR)
	if r := s.next(); r.Outcome != "published" {
		t.Fatalf("%+v", r)
	}

	js := s.jetStream()
	names := events.DefaultNames()
	for _, name := range []string{names.Koji, names.Requests, names.Results, names.DeadLetters, "KV_" + names.Ledger, "KV_" + names.Leases} {
		if info := streamInfo(t, js, name); info.Config.Replicas != 3 || info.Cluster == nil || len(info.Cluster.Replicas) != 2 {
			t.Errorf("%s has %d replicas: %+v", name, info.Config.Replicas, info.Cluster)
		}
	}

	leader := streamInfo(t, js, names.Koji).Cluster.Leader
	cluster.stop(leader)
	s.await("another leader than "+leader, func() bool { return streamInfo(t, js, names.Koji).Cluster.Leader != leader })
	s.announce(sandbox.UpdateNVR)
	if r := s.next(); r.Outcome != "published" || r.NVR != sandbox.UpdateNVR {
		t.Fatalf("without %s: %+v", leader, r)
	}

	cluster.start(t, leader)
	s.await(leader+" has all again", func() bool {
		info := streamInfo(t, js, names.Results)
		for _, r := range info.Cluster.Replicas {
			if !r.Current || r.Offline {
				return false
			}
		}
		return info.State.Msgs == 2
	})
}

// cluster is the servers of deploy/nats-cluster, with everything on this machine.
type cluster struct {
	folder  string                    // of certificates and the password
	local   *strings.Replacer         // what is elsewhere in the files
	clients []string                  // host:port of each server
	nodes   map[string]string         // configuration file by name
	running map[string]*server.Server // by name
}

// startCluster starts the servers and waits until they have elected a leader.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	authority, key := keyPair(t)
	c := &cluster{nodes: map[string]string{}, running: map[string]*server.Server{}}
	c.folder = writeFiles(t, map[string]string{"server.crt": authority, "server.key": key, "ca.crt": authority, "nats-password": "of-the-test"})
	replaced := []string{"/etc/nats/tls", c.folder, "$NATS_ADMIN_PASSWORD", "a", "$OMPS_CONSUMER_PASSWORD", "of-the-test"}
	listen := make(map[string][]string)
	for i := range 3 {
		name, client, route := fmt.Sprintf("nats-%d", i+1), freeAddress(t), freeAddress(t)
		c.clients = append(c.clients, client)
		replaced = append(replaced, name+".example.com:4222", client, name+".example.com:6222", route)
		listen[name] = []string{"0.0.0.0:4222", client, "0.0.0.0:6222", route, "127.0.0.1:8222", "127.0.0.1:-1", "/var/lib/nats", t.TempDir()}
	}
	c.local = strings.NewReplacer(replaced...)
	for i := range 3 {
		name := fmt.Sprintf("nats-%d", i+1)
		own := strings.NewReplacer(listen[name]...)
		files := make(map[string]string)
		for _, file := range []string{fmt.Sprintf("node-%d.conf", i+1), "cluster.conf"} {
			files[file] = own.Replace(c.local.Replace(mustRead(t, clusterFolder+file)))
		}
		c.nodes[name] = filepath.Join(writeFiles(t, files), fmt.Sprintf("node-%d.conf", i+1))
		c.start(t, name)
	}
	s := &system{t: t}
	s.await("a leader of three servers", func() bool {
		for _, n := range c.running {
			if n.JetStreamIsLeader() && len(n.JetStreamClusterPeers()) == 3 {
				return true
			}
		}
		return false
	})
	return c
}

// start starts a server, for the first time or again.
func (c *cluster) start(t *testing.T, name string) {
	t.Helper()
	options, err := server.ProcessConfigFile(c.nodes[name])
	if err != nil {
		t.Fatal(err)
	}
	if !options.SyncAlways || options.ServerName != name {
		t.Errorf("%s: sync always is %v", options.ServerName, options.SyncAlways)
	}
	options.NoSigs, options.NoLog = true, true
	node, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	node.Start()
	c.running[name] = node
	t.Cleanup(func() {
		node.Shutdown()
		node.WaitForShutdown()
	})
}

func (c *cluster) stop(name string) {
	c.running[name].Shutdown()
	c.running[name].WaitForShutdown()
}

// newSystem runs the service on the cluster, as deploy/nats-cluster/consumer.yaml
// says.
func (c *cluster) newSystem(t *testing.T) *system {
	t.Helper()
	world, err := sandbox.Start(sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	text := strings.NewReplacer("/etc/omps-consumer/secrets", c.folder, "/etc/omps-consumer/nats-ca.crt", c.folder+"/ca.crt").
		Replace(c.local.Replace(mustRead(t, clusterFolder+"consumer.yaml")))
	config, err := ParseConfig("consumer.yaml", fmt.Appendf([]byte(text), `
intake: {ack_wait: 3s, grace: 10s}
koji: {hub_url: %q, root_url: %q}
quay: {registry: %q, url: %q, plain_http: true}
ops: {listen: "127.0.0.1:0"}
organizations: {myorg: {match: ["sample-*"]}}
`, world.HubURL(), world.FilesURL(), world.RegistryHost(), world.RegistryURL()), none)
	if err != nil {
		t.Fatal(err)
	}
	s := &system{
		t: t, world: world, nats: &eventstest.Server{URL: "tls://" + strings.Join(c.clients, ",tls://")}, config: config,
		login: []nats.Option{nats.UserInfo("omps-consumer", "of-the-test"), nats.RootCAs(c.folder + "/ca.crt")},
		log:   &lockedBuffer{}, results: make(chan events.ResultData, 10),
	}
	s.start()
	s.watch()
	return s
}

// streamInfo asks until somebody leads the stream.
func streamInfo(t *testing.T, js jetstream.JetStream, name string) *jetstream.StreamInfo {
	t.Helper()
	var info *jetstream.StreamInfo
	s := &system{t: t}
	s.await("a leader of "+name, func() bool {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			return false
		}
		info = stream.CachedInfo()
		return info.Cluster != nil && info.Cluster.Leader != ""
	})
	return info
}

// freeAddress is one on which nobody listens at the moment: routes have to be
// known before the first server starts.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
