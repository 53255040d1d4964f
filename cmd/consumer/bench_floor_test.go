//go:build linux

package main

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// script is everything that the service did in public for one build.
type script struct {
	NVR       string
	ID        string // of the message that announces the build
	Exchanges []exchange
	Result    nats.Msg // the event that it published
}

// benchFloor tells a test binary to be a floor. Its value is a floorTask.
const benchFloor = "BENCH_FLOOR"

// floorTask is what a floor has to do.
type floorTask struct {
	NATS, Stream, Durable string
	Workers               int
	Scripts               string            // file; "": acknowledge everything unread
	URLs                  map[string]string // of the stand-ins
}

// TestBenchFloor is a floor: what the service's work costs when nobody looks at
// what is pulled, downloaded and sent, keeps no ledger, takes no leases and
// writes no log.
func TestBenchFloor(t *testing.T) {
	text := os.Getenv(benchFloor)
	if text == "" {
		t.Skip("a process that TestBench starts")
	}
	var task floorTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect(task.NATS)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	durable, err := js.Consumer(t.Context(), task.Stream, task.Durable)
	if err != nil {
		t.Fatal(err)
	}
	if task.Scripts == "" {
		err = acknowledge(durable)
	} else {
		err = task.replay(t.Context(), js, durable)
	}
	t.Fatal(err) // the harness kills it before it ends
}

// acknowledge pulls batches and acknowledges them unread.
func acknowledge(durable jetstream.Consumer) error {
	const batch = 500
	for {
		messages, err := durable.Fetch(batch, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		for msg := range messages.Messages() {
			if err := msg.Ack(); err != nil {
				return err
			}
		}
		if err := messages.Error(); err != nil {
			return err
		}
	}
}

// replay lets workers do again what was recorded for each build: the same
// requests, the same result, the same kind of acknowledgement.
func (task floorTask) replay(ctx context.Context, js jetstream.JetStream, durable jetstream.Consumer) error {
	scripts, err := loadScripts(task.Scripts)
	if err != nil {
		return err
	}
	messages, err := durable.Messages(jetstream.PullMaxMessages(task.Workers))
	if err != nil {
		return err
	}
	work, failed := make(chan jetstream.Msg), make(chan error, task.Workers+1)
	requests := newReplayer(task.URLs)
	for range task.Workers {
		go func() {
			for msg := range work {
				if err := perform(ctx, js, requests, scripts[msg.Headers().Get(jetstream.MsgIDHeader)], msg); err != nil {
					failed <- err
				}
			}
		}()
	}
	go func() {
		for {
			msg, err := messages.Next()
			if err != nil {
				failed <- err
				return
			}
			work <- msg
		}
	}()
	return <-failed
}

// perform does for one message what its script says.
func perform(ctx context.Context, js jetstream.JetStream, requests replayer, s *script, msg jetstream.Msg) error {
	if s == nil {
		return fmt.Errorf("nothing is recorded for %v", msg.Headers())
	}
	if err := requests.run(ctx, s.Exchanges); err != nil {
		return err
	}
	if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: s.Result.Subject, Header: s.Result.Header, Data: s.Result.Data}); err != nil {
		return err
	}
	return msg.DoubleAck(ctx)
}

// The files of scripts: their bodies lie apart, so that a floor can hold them
// without its garbage collector taking them for what the work needs.
const (
	scriptsFile = "scripts"
	bodiesFile  = "bodies"
)

// saveScripts writes scripts into a folder of their own below dir, and returns it.
func saveScripts(dir, name string, scripts []script) (string, error) {
	dir = filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	bodies := []byte("-") // a file without bytes cannot be mapped
	for _, s := range scripts {
		for i := range s.Exchanges {
			s.Exchanges[i].Offset = len(bodies)
			bodies = append(bodies, s.Exchanges[i].body...)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, bodiesFile), bodies, 0o600); err != nil {
		return "", err
	}
	file, err := os.Create(filepath.Join(dir, scriptsFile))
	if err != nil {
		return "", err
	}
	defer file.Close()
	return dir, gob.NewEncoder(file).Encode(scripts)
}

// loadScripts reads scripts, by the id of what announces their build.
func loadScripts(dir string) (map[string]*script, error) {
	file, err := os.Open(filepath.Join(dir, scriptsFile))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var scripts []script
	if err := gob.NewDecoder(file).Decode(&scripts); err != nil {
		return nil, err
	}
	bodies, err := os.Open(filepath.Join(dir, bodiesFile))
	if err != nil {
		return nil, err
	}
	defer bodies.Close()
	info, err := bodies.Stat()
	if err != nil {
		return nil, err
	}
	all, err := syscall.Mmap(int(bodies.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*script, len(scripts))
	for i := range scripts {
		s := &scripts[i]
		for j := range s.Exchanges {
			e := &s.Exchanges[j]
			e.body = all[e.Offset : e.Offset+e.Size]
		}
		byID[s.ID] = s
	}
	return byID, nil
}
