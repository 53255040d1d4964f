package eventstest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Secret is the password of every user of an Accounts server.
const Secret = "secret"

// secretHash is Secret as bcrypt has it, at the lowest cost.
const secretHash = "$2a$04$DwjuUxYsxH1M64Ipy/.KIui1jqfTM3iKBwpoFaRY4sWXAJmClYpTa"

// AccountsOptions say how an Accounts server differs from the configuration
// that it is given.
type AccountsOptions struct {
	Folder string // with nats-server.conf, accounts.conf and secrets.example.conf
	// Change returns another text for accounts.conf; nil: as it is.
	Change func(text string) string
	// LaterAcks turns on the form of acknowledgement subjects that a later
	// version of the server will have.
	LaterAcks bool
}

// Accounts is a server with accounts and permissions as they are deployed.
type Accounts struct {
	// Options are what the server made of the configuration.
	Options *server.Options
	address string
}

// variable is one that accounts.conf takes from secrets.conf.
var variable = regexp.MustCompile(`(?m)^([A-Z_]+): `)

// StartAccounts starts a server as the configuration of a folder says, on a free
// loopback port and with a store of its own. It ends with the test.
func StartAccounts(tb testing.TB, o AccountsOptions) *Accounts {
	tb.Helper()
	folder := tb.TempDir()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(o.Folder, name))
		if err != nil {
			tb.Fatal(err)
		}
		return string(text)
	}
	accounts, secrets := read("accounts.conf"), read("secrets.example.conf")
	if o.Change != nil {
		accounts = o.Change(accounts)
	}
	var filled strings.Builder
	for _, name := range variable.FindAllStringSubmatch(secrets, -1) {
		fmt.Fprintf(&filled, "%s: %q\n", name[1], secretHash)
	}
	for name, text := range map[string]string{
		"nats-server.conf": read("nats-server.conf"), "accounts.conf": accounts, "secrets.conf": filled.String(),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	options, err := server.ProcessConfigFile(filepath.Join(folder, "nats-server.conf"))
	if err != nil {
		tb.Fatal(err)
	}
	options.Host, options.Port, options.StoreDir = "127.0.0.1", server.RANDOM_PORT, tb.TempDir()
	options.NoSigs, options.NoLog, options.SyncAlways = true, true, false // a test loses no power
	options.FeatureFlags = map[string]bool{server.FeatureFlagJsAckFormatV2: o.LaterAcks}
	s, err := server.NewServer(options)
	if err != nil {
		tb.Fatal(err)
	}
	s.Start()
	tb.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return &Accounts{Options: options, address: s.Addr().String()}
}

// URL is where a user connects, name and password included.
func (a *Accounts) URL(user string) string { return "nats://" + user + ":" + Secret + "@" + a.address }

// Address is where anybody connects.
func (a *Accounts) Address() string { return "nats://" + a.address }
