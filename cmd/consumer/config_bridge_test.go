package main

import (
	"strings"
	"testing"
)

// TestBridgeDoubtsPasswordsInClear: nobody is on the way to this machine.
func TestBridgeDoubtsPasswordsInClear(t *testing.T) {
	t.Parallel()
	for address, doubted := range map[string]bool{
		"amqp://broker.example.com": true, "amqp://192.0.2.1:5672": true, "amqp://[2001:db8::1]:5672": true,
		"amqps://broker.example.com": false, "amqp://127.0.0.1:5672": false, "amqp://localhost": false, "amqp://[::1]:5672": false,
	} {
		for username, known := range map[string]bool{"omps": true, "": false} {
			f := newFaults("c.yaml")
			BridgeConfig{Sources: []BusConfig{{URLs: []string{"amqps://a", address}, Username: username}}}.doubt(f)
			var got string
			for _, w := range f.warnings {
				got += w.Path + " " + w.Text
			}
			if want := "bridge.sources[0].urls[1] the password goes unencrypted to "; (doubted && known) != strings.HasPrefix(got, want) || len(f.warnings) > 1 {
				t.Errorf("%s as %q: %q", address, username, got)
			}
		}
	}
}
