package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	amqp10 "github.com/Azure/go-amqp"
	"github.com/rabbitmq/amqp091-go"
)

// rabbit is a RabbitMQ server of the test's own, which speaks both protocols,
// on free ports of the loopback interface.
type rabbit struct {
	t    *testing.T
	host string // host:port
	tls  tlsBroker
	run  func() (stop func())
	stop func()
}

// tlsBroker is where the same server speaks TLS, and the PEM files of a client
// whose certificate is that of the user guest.
type tlsBroker struct{ host, ca, cert, key string }

// rabbitServer is the server itself where Debian has it: what lies on the path
// there is a wrapper that changes the user and wants to own the machine.
const rabbitServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// startRabbit starts a server, which takes some seconds, or skips the test where
// none is installed.
func startRabbit(t *testing.T) *rabbit {
	t.Helper()
	if testing.Short() {
		t.Skip("a RabbitMQ server takes some seconds to start: not with -short")
	}
	server := rabbitServer
	if _, err := os.Stat(server); err != nil {
		if server, err = exec.LookPath("rabbitmq-server"); err != nil {
			t.Skip("rabbitmq-server is not installed (Debian: apt-get install rabbitmq-server)")
		}
	}
	epmd, err := exec.LookPath("epmd")
	if err != nil {
		t.Skip("epmd, which comes with Erlang and which rabbitmq-server needs, is not on the path")
	}
	folder, ports := t.TempDir(), freePorts(t, 4)
	names, distribution := ports[1], ports[2]
	r := &rabbit{t: t, host: net.JoinHostPort("127.0.0.1", ports[0])}
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca, cert, key := signedPair(t)
	r.tls = tlsBroker{
		host: net.JoinHostPort("127.0.0.1", ports[3]), ca: file("ca.pem", ca), cert: file("cert.pem", cert), key: file("key.pem", key),
	}
	env := append(os.Environ(),
		"HOME="+folder, "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+names,
		"RABBITMQ_NODENAME=omps-test-"+ports[0]+"@localhost", "RABBITMQ_DIST_PORT="+distribution,
		"RABBITMQ_MNESIA_BASE="+filepath.Join(folder, "mnesia"), "RABBITMQ_LOG_BASE="+filepath.Join(folder, "log"),
		"RABBITMQ_SCHEMA_DIR="+filepath.Join(folder, "schema"), "RABBITMQ_GENERATED_CONFIG_DIR="+filepath.Join(folder, "generated"),
		"RABBITMQ_PID_FILE="+filepath.Join(folder, "pid"),
		"RABBITMQ_CONFIG_FILE="+file("rabbitmq.conf", r.config()),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+file("plugins", "[rabbitmq_amqp1_0,rabbitmq_auth_mechanism_ssl]."))
	startGroup(t, env, epmd, "-address", "127.0.0.1", "-port", names)
	r.run = func() func() { return startGroup(t, env, server) }
	r.start()
	return r
}

func (r *rabbit) config() string {
	return fmt.Sprintf(`listeners.tcp.1 = %s
listeners.ssl.1 = %s
ssl_options.cacertfile = %s
ssl_options.certfile = %s
ssl_options.keyfile = %s
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_cert_login_from = common_name
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = EXTERNAL
distribution.listener.interface = 127.0.0.1
`, r.host, r.tls.host, r.tls.ca, r.tls.cert, r.tls.key)
}

// signedPair is an authority and a certificate of its for this machine, as a
// server and as the user guest.
func signedPair(t *testing.T) (authority, cert, key string) {
	t.Helper()
	until := time.Now().Add(24 * time.Hour)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "guest"}, NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	var texts []string
	var signer *ecdsa.PrivateKey
	for _, template := range []*x509.Certificate{root, leaf} {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = private
		}
		der, err := x509.CreateCertificate(rand.Reader, template, root, private.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
			string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	}
	return texts[0], texts[2], texts[3]
}

// start starts the server, again where it was stopped, and waits for it.
func (r *rabbit) start() {
	r.t.Helper()
	r.stop = r.run()
	deadline := time.Now().Add(2 * patience) // Erlang is slow on a busy machine
	for {
		conn, err := amqp091.Dial(r.url())
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("rabbitmq-server does not come up: %v", err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// url is where guest, who may do everything, logs in.
func (r *rabbit) url() string { return "amqp://" + r.host }

// startGroup runs a program and what it starts in turn as one process group,
// which ends with stop, with the test, or with the test's process: it is then
// that the shell around it reads the end of its input.
func startGroup(t *testing.T, env []string, program string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", `"$0" "$@" </dev/null & read _; kill -9 0`, program}, args...)...)
	cmd.Env, cmd.SysProcAttr, cmd.WaitDelay = env, &syscall.SysProcAttr{Setpgid: true}, 5*time.Second
	output := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = output, output
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	stop = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // an error: it is gone already
		<-ended
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", program, output)
		}
	})
	return stop
}

// freePorts are for servers that are told their port and take it some time
// later. They lie below those that the system gives to whoever asks for any.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	const first, end = 20000, 32000
	var ports []string
	for range 1000 {
		port := strconv.Itoa(first + mathrand.N(end-first))
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			continue
		}
		defer listener.Close() // when all are found, which are different then
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatalf("no %d free ports from %d to %d", n, first, end)
	return nil
}

// channel is one on a connection of its own.
func (r *rabbit) channel() *amqp091.Channel {
	r.t.Helper()
	conn, err := amqp091.Dial(r.url())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	channel, err := conn.Channel()
	if err != nil {
		r.t.Fatal(err)
	}
	return channel
}

// queue makes a durable queue that is bound to topics.
func (r *rabbit) queue(name string, arguments amqp091.Table, topics ...string) {
	r.t.Helper()
	channel := r.channel()
	_, err := channel.QueueDeclare(name, true, false, false, false, arguments)
	for _, topic := range topics {
		if err == nil {
			err = channel.QueueBind(name, topic, "amq.topic", false, nil)
		}
	}
	if err != nil {
		r.t.Fatalf("queue %s: %v", name, err)
	}
}

// waiting is how many messages of a queue nobody has in hand.
func (r *rabbit) waiting(queue string) int {
	r.t.Helper()
	q, err := r.channel().QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return q.Messages
}

// send091 sends as fedora-messaging does.
func (r *rabbit) send091(topic, id, body string) {
	r.t.Helper()
	err := r.channel().PublishWithContext(r.t.Context(), "amq.topic", topic, false, false, amqp091.Publishing{
		MessageId: id, ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp091.Persistent, Body: []byte(body),
		Headers: amqp091.Table{
			"fedora_messaging_schema": "koji_fedoramessaging.build.BuildStateChangeV1", "fedora_messaging_severity": int32(20),
			"sent-at": "2026-11-22T07:26:07.017625+00:00", "priority": int32(0),
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// send10 sends as Koji's protonmsg plugin does: one text, no id, properties.
func (r *rabbit) send10(topic, body string, properties map[string]any) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	conn, err := amqp10.Dial(ctx, r.url(), &amqp10.ConnOptions{SASLType: amqp10.SASLTypePlain("guest", "guest")})
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	sender, err := session.NewSender(ctx, "/topic/"+topic, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	header := &amqp10.MessageHeader{Durable: true}
	if err := sender.Send(ctx, &amqp10.Message{Header: header, Value: body, ApplicationProperties: properties}, nil); err != nil {
		r.t.Fatal(err)
	}
}

// stateChange are the body and the properties of the plugin's message.
func stateChange(nvr [3]string, id int64, state int, word string) (string, map[string]any) {
	body := fmt.Sprintf(`{"attribute": "state", "old": 0, "new": %[5]d, "info": {"build_id": %[4]d, "id": %[4]d, "name": %[1]q, "version": %[2]q, "release": %[3]q, "nvr": "%[1]s-%[2]s-%[3]s", "state": %[5]d}}`,
		nvr[0], nvr[1], nvr[2], id, state)
	return body, map[string]any{
		"type": "BuildStateChange", "attribute": "state", "old": "BUILDING", "new": word,
		"name": nvr[0], "version": nvr[1], "release": nvr[2],
	}
}

// promotion is the body of the plugin's message that a draft is one no more.
func promotion(nvr [3]string, id int64) string {
	return fmt.Sprintf(`{"draft_release": "%[3]s,draft_%[4]d", "target_release": %[3]q, "build": {"build_id": %[4]d, "id": %[4]d, "name": %[1]q, "version": %[2]q, "release": %[3]q, "nvr": "%[1]s-%[2]s-%[3]s", "state": 1, "draft": false}, "user": {"id": 1}}`,
		nvr[0], nvr[1], nvr[2], id)
}

// fedoraBody is that of koji-fedoramessaging.
func fedoraBody(nvr [3]string, id int64, state int) string {
	return fmt.Sprintf(`{"name": %q, "version": %q, "release": %q, "epoch": null, "attribute": "state", "old": 0, "new": %d, "build_id": %d, "instance": "primary"}`,
		nvr[0], nvr[1], nvr[2], state, id)
}
