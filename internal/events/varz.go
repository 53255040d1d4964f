package events

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// varzSubject asks each server of a cluster how it is set up. It is open to
	// the system account, and to accounts that import it from there.
	varzSubject = "$SYS.REQ.SERVER.PING.VARZ"
	// varzTimeout bounds the wait for the answers: nobody says how many come.
	varzTimeout = 500 * time.Millisecond
)

var varzRight = right{subject: varzSubject}

// varz is the part of a server's answer that matters here: Varz and
// JetStreamConfig of its server/monitor.go and server/jetstream.go.
type varz struct {
	Server struct {
		Name    string `json:"name"`
		Version string `json:"ver"`
	} `json:"server"`
	Data struct {
		JetStream struct {
			Config *struct {
				SyncInterval time.Duration `json:"sync_interval"`
				SyncAlways   bool          `json:"sync_always"`
			} `json:"config"`
		} `json:"jetstream"`
	} `json:"data"`
}

// servers asks all servers what the one we are connected to does not tell.
func (s *survey) servers(ctx context.Context, nc *nats.Conn) error {
	denied, err := s.rights.try(ctx, []right{varzRight})
	if err != nil {
		return err
	}
	known := false
	if len(denied) == 0 {
		answers, err := askServers(ctx, nc)
		if err != nil {
			return err
		}
		for _, a := range answers {
			of := "server " + a.Server.Name
			if v := a.Server.Version; v != "" && v != nc.ConnectedServerVersion() { // that is said already
				s.warn(of, versionRisks(a.Server.Version))
			}
			if c := a.Data.JetStream.Config; c != nil {
				known = true
				if !c.SyncAlways {
					s.warn(of, []string{fmt.Sprintf("sync_interval is %s, which loses what it acknowledged in that time when the power fails; it should be always", c.SyncInterval)})
				}
			}
		}
	}
	if !known {
		s.report.Notes = append(s.report.Notes, "the server's sync_interval cannot be read by this account: make sure that it is `always`")
	}
	return nil
}

// askServers returns what the servers answer in time; none where nobody may
// ask.
func askServers(ctx context.Context, nc *nats.Conn) ([]varz, error) {
	ctx, cancel := context.WithTimeout(ctx, varzTimeout)
	defer cancel()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("ask servers: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest(varzSubject, inbox, nil); err != nil {
		return nil, fmt.Errorf("ask servers: %w", err)
	}
	var answers []varz
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil || len(msg.Data) == 0 { // nobody else, or nobody at all
			return answers, nil
		}
		var a varz
		if json.Unmarshal(msg.Data, &a) == nil {
			answers = append(answers, a)
		}
		if nc.ConnectedClusterName() == "" {
			return answers, nil
		}
	}
}
