package events

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Every status that the server's consumer.go sends to a pull.
func TestReadStatus(t *testing.T) {
	t.Parallel()
	anError := errors.New("some error")
	for _, tt := range []struct {
		code, text string
		ended      bool
		err        error // anError: any
	}{
		{"100", "Idle Heartbeat", false, nil},
		{"404", "No Messages", true, nil},
		{"408", "Request Timeout", true, nil},
		{"409", "Message Size Exceeds MaxBytes", true, nil},
		{"409", "Batch Completed", true, nil},
		{"409", "Consumer Deleted", true, jetstream.ErrConsumerDeleted},
		{"409", "Leadership Change", true, anError},
		{"409", "Server Shutdown", true, anError},
		{"409", "Exceeded MaxWaiting", true, anError},
		{"409", "Exceeded MaxRequestBatch of 10", true, anError},
		{"409", "Consumer is push based", true, anError},
		{"400", "Bad Request", true, anError},
		{"503", "", true, nats.ErrNoResponders},
		{"", "", true, anError},
	} {
		ended, err := readStatus(nats.Header{"Status": {tt.code}, "Description": {tt.text}})
		fits := errors.Is(err, tt.err) || errors.Is(tt.err, anError) && err != nil
		if ended != tt.ended || !fits {
			t.Errorf("%s %s: ended %v, %v", tt.code, tt.text, ended, err)
		}
	}
}
