package main

import (
	"io"
	"net"
	"sync"
	"testing"
)

// mutableLine leads to a server. Muted, it goes on bringing what the server
// says, and keeps from it what it is told.
type mutableLine struct {
	host string
	mu   sync.Mutex
	off  bool
}

func newMutableLine(t *testing.T, to string) *mutableLine {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	l := &mutableLine{host: listener.Addr().String()}
	t.Cleanup(l.unmute)
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			go l.carry(far, near, true)
			go l.carry(near, far, false)
		}
	}()
	return l
}

// carry copies until one side is gone, and then closes the other. What it holds
// when its side is gone is lost.
func (l *mutableLine) carry(to, from net.Conn, mutable bool) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if mutable && l.dropped() {
			_, _ = io.Copy(io.Discard, from) // until that side is gone
			return
		}
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (l *mutableLine) dropped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.off
}

func (l *mutableLine) mute()   { l.set(true) }
func (l *mutableLine) unmute() { l.set(false) }

func (l *mutableLine) set(off bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.off = off
}
