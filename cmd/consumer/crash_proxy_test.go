package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// moment is a message from a service to its NATS server at which something is
// to happen.
type moment struct {
	matches func(subject string, data []byte) bool
	// stored: not before the server has answered the message. The answer goes
	// nowhere. Otherwise it is the message itself that goes nowhere.
	stored bool
	act    func() // called once
}

// tap stands between services and their NATS server, reads what they say to
// each other (https://docs.nats.io/reference/reference-protocols/nats-protocol),
// and acts at an exact message.
type tap struct {
	server   string // host:port
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	moment *moment
	conns  map[net.Conn]bool
}

// startTap starts one that ends with the test.
func startTap(t *testing.T, server string) *tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{server: server, listener: listener, conns: map[net.Conn]bool{}}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.closeAll()
		p.running.Wait()
	})
	return p
}

// url is where services connect.
func (p *tap) url() string { return "nats://" + p.listener.Addr().String() }

// set says what to act at; nil: nothing.
func (p *tap) set(m *moment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moment = m
}

// take returns the moment if the message is it, for one caller only.
func (p *tap) take(subject string, data []byte) *moment {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.moment
	if m == nil || !m.matches(subject, data) {
		return nil
	}
	p.moment = nil
	return m
}

// restore puts back a moment that was none: the server refused the message.
func (p *tap) restore(m *moment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moment = m
}

func (p *tap) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.server)
		if err != nil { // an outage
			_ = client.Close()
			continue
		}
		p.join(client, server)
	}
}

// join serves one connection until either side ends it.
func (p *tap) join(client, server net.Conn) {
	p.keep(client, server)
	link := &link{tap: p, client: client, server: server}
	var both sync.WaitGroup
	both.Go(func() { link.toServer(); link.close() })
	both.Go(func() { link.toClient(); link.close() })
	p.running.Go(func() { both.Wait(); p.drop(client, server) })
}

func (p *tap) keep(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
}

func (p *tap) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}

func (p *tap) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// link is one connection through a tap.
type link struct {
	tap            *tap
	client, server net.Conn

	mu      sync.Mutex
	awaited string  // subject of the answer at which to act; "": none
	moment  *moment // what to do then
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// toServer passes on what the client says, up to the moment.
func (l *link) toServer() {
	in := bufio.NewReader(l.client)
	for {
		f, err := readFrame(in)
		if err != nil {
			return
		}
		if f.subject != "" {
			if m := l.tap.take(f.subject, f.data()); m != nil {
				if !m.stored {
					m.act()
					return
				}
				l.mu.Lock()
				l.awaited, l.moment = f.reply, m
				l.mu.Unlock()
			}
		}
		if _, err := l.server.Write(f.bytes); err != nil {
			return
		}
	}
}

// toClient passes on what the server says, up to the answer that is awaited.
func (l *link) toClient() {
	in := bufio.NewReader(l.server)
	for {
		f, err := readFrame(in)
		if err != nil {
			return
		}
		l.mu.Lock()
		m := l.moment
		if m == nil || f.subject != l.awaited {
			m = nil
		} else {
			l.awaited, l.moment = "", nil
		}
		l.mu.Unlock()
		switch {
		case m == nil:
		case bytes.Contains(f.data(), []byte(`"error":`)):
			l.tap.restore(m)
		default:
			m.act()
			return
		}
		if _, err := l.client.Write(f.bytes); err != nil {
			return
		}
	}
}

// frame is one operation of the protocol, in either direction.
type frame struct {
	bytes          []byte // all of it, as it came
	subject, reply string // of a message; "" of anything else
	body, headers  int    // where the payload begins in bytes, and how much of it are headers
}

// data is a message's payload without its headers.
func (f frame) data() []byte {
	return f.bytes[f.body+f.headers : max(len(f.bytes)-2, f.body+f.headers)]
}

// readFrame reads the next operation, whatever pieces it comes in:
//
//	PUB subject [reply] size              MSG subject sid [reply] size
//	HPUB subject [reply] headers size     HMSG subject sid [reply] headers size
func readFrame(in *bufio.Reader) (frame, error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return frame{}, err
	}
	f := frame{bytes: line, body: len(line)}
	fields := strings.Fields(string(line))
	if len(fields) == 0 {
		return f, nil
	}
	var words int // before the reply
	sizes := 1    // after it
	switch strings.ToUpper(fields[0]) {
	case "PUB":
		words = 2
	case "HPUB":
		words, sizes = 2, 2
	case "MSG":
		words = 3
	case "HMSG":
		words, sizes = 3, 2
	default:
		return f, nil
	}
	if len(fields) < words+sizes {
		return frame{}, io.ErrUnexpectedEOF
	}
	f.subject = fields[1]
	if len(fields) > words+sizes {
		f.reply = fields[words]
	}
	size, err := strconv.Atoi(fields[len(fields)-1])
	if err == nil && sizes == 2 {
		f.headers, err = strconv.Atoi(fields[len(fields)-2])
	}
	if err != nil || f.headers > size {
		return frame{}, io.ErrUnexpectedEOF
	}
	payload := make([]byte, size+len("\r\n"))
	if _, err := io.ReadFull(in, payload); err != nil {
		return frame{}, err
	}
	f.bytes = append(f.bytes, payload...)
	return f, nil
}

func TestTapReadsTheProtocol(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, subject, reply, data string }{
		{"PING\r\n", "", "", ""},
		{"\r\n", "", "", ""},
		{`CONNECT {"lang":"go"}` + "\r\n", "", "", ""},
		{"SUB a.b 7\r\n", "", "", ""},
		{"PUB a.b 5\r\nhello\r\n", "a.b", "", "hello"},
		{"PUB a.b _INBOX.1 0\r\n\r\n", "a.b", "_INBOX.1", ""},
		{"pub a.b 12\r\nPUB c 1\r\nx\r\n\r\n", "a.b", "", "PUB c 1\r\nx\r\n"},
		{"HPUB a.b 20 25\r\nNATS/1.0\r\nA: bcd\r\n\r\nhello\r\n", "a.b", "", "hello"},
		{"HPUB a.b _INBOX.1 12 12\r\nNATS/1.0\r\n\r\n\r\n", "a.b", "_INBOX.1", ""},
		{"MSG a.b 7 5\r\nhello\r\n", "a.b", "", "hello"},
		{"MSG a.b 7 $JS.ACK.x 5\r\nhello\r\n", "a.b", "$JS.ACK.x", "hello"},
		{"HMSG a.b 7 r 12 17\r\nNATS/1.0\r\n\r\nhello\r\n", "a.b", "r", "hello"},
	} {
		// Byte by byte, and with another behind it.
		in := bufio.NewReader(iotest.OneByteReader(strings.NewReader(tc.text + "PONG\r\n")))
		f, err := readFrame(in)
		if err != nil || string(f.bytes) != tc.text || f.subject != tc.subject || f.reply != tc.reply || string(f.data()) != tc.data {
			t.Errorf("%q is %q with reply %q of %q: %v", tc.text, f.subject, f.reply, f.data(), err)
		}
		if next, err := readFrame(in); err != nil || string(next.bytes) != "PONG\r\n" {
			t.Errorf("behind %q comes %q: %v", tc.text, next.bytes, err)
		}
	}
	for _, text := range []string{"", "PUB a.b 5\r\nhel", "PUB a.b\r\n", "PUB a.b x\r\n", "HPUB a.b x 5\r\nhello\r\n", "PING"} {
		if f, err := readFrame(bufio.NewReader(strings.NewReader(text))); err == nil {
			t.Errorf("%q is read as %+v", text, f)
		}
	}
}
