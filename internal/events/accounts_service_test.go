package events_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
)

// whole is a preflight for all that the service can do.
func whole() events.PreflightOptions {
	o := unmanaged()
	o.Announce = true
	return o
}

// preflightAs is one of the service on a server with the shipped accounts.
func preflightAs(t *testing.T, w *world, o events.PreflightOptions) (events.Report, error) {
	t.Helper()
	nc, err := events.Connect(t.Context(), events.ConnOptions{URL: w.URL("service"), InboxPrefix: "_INBOX_SERVICE"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	return events.Preflight(t.Context(), nc, o)
}

// serviceGrants is what the service may publish to by the shipped file.
func serviceGrants(t *testing.T) []string {
	t.Helper()
	for _, u := range eventstest.StartAccounts(t, eventstest.AccountsOptions{Folder: deployed}).Options.Users {
		if u.Username == "service" {
			return u.Permissions.Publish.Allow
		}
	}
	t.Fatal("there is no service")
	return nil
}

// withhold takes one of the service's permissions away.
func withhold(t *testing.T, grant string) func(text string) string {
	return func(text string) string {
		start := strings.Index(text, "user: service,")
		end := strings.Index(text, "exports: [")
		quoted := fmt.Sprintf("%q", grant)
		if start < 0 || end < start || strings.Count(text[start:end], quoted) != 1 {
			t.Fatalf("%s is not one permission of the service", grant)
		}
		return text[:start] + strings.Replace(text[start:end], quoted, `"nothing"`, 1) + text[end:]
	}
}

func TestShippedPermissionsAreWhatTheServiceNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, eventstest.AccountsOptions{})
	w.provision()
	before := w.traces()
	if report, err := preflightAs(t, w, whole()); err != nil || len(report.Warnings) > 0 {
		t.Fatalf("report %q, %v", report, err)
	}
	if after := w.traces(); after != before {
		t.Errorf("the preflight left %d messages", after-before)
	}
	for _, grant := range serviceGrants(t) {
		t.Run(grant, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, eventstest.AccountsOptions{Change: withhold(t, grant)})
			w.provision()
			report, err := preflightAs(t, w, whole())
			want := "no permission to publish to " + grant + " ("
			faults := faultsOf(err)
			switch minor := strings.HasPrefix(grant, "$JS.ACK.*") || shows(grant); {
			case strings.Contains(grant, "OBJ_"): // which stores there are, nobody tells the service
				if err != nil || len(report.Warnings) > 0 {
					t.Errorf("report %q, %v", report, err)
				}
			case minor && (err != nil || len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], want)):
				t.Errorf("no warning %q alone in %q, %v", want, report, err)
			case !minor && (len(faults) != 1 || !strings.Contains(faults[0].Error(), want)):
				t.Errorf("no fault %q alone in %v", want, err)
			}
		})
	}
}

func (w *world) traces() (messages uint64) {
	w.t.Helper()
	for info := range w.js.ListStreams(w.t.Context()).Info() {
		messages += info.State.Msgs
	}
	return messages
}

func TestPreflightTellsWhatOfArchivesCannotBeTried(t *testing.T) {
	t.Parallel()
	w := newWorld(t, eventstest.AccountsOptions{})
	w.provision()
	for _, archives := range []bool{true, false} {
		o := whole()
		o.Archives = archives
		report, err := preflightAs(t, w, o)
		told := slices.ContainsFunc(report.Notes, func(note string) bool { return strings.Contains(note, "OBJ_BUCKET.>") })
		if err != nil || told != archives {
			t.Errorf("archives %v: %q, %v", archives, report, err)
		}
	}
}

// Without the prefix of its role, a program hears no answer.
func TestInboxPrefixIsNeeded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, eventstest.AccountsOptions{})
	w.provision()
	nc, err := events.Connect(t.Context(), events.ConnOptions{URL: w.URL("service")})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, err = events.Preflight(t.Context(), nc, unmanaged())
	if faults := faultsOf(err); len(faults) != 1 || !strings.Contains(faults[0].Error(), "no permission to subscribe to _INBOX.") {
		t.Errorf("error is %v", err)
	}
}

// A second organization is a copy of the first one's part of the file.
func TestOrganizationsAreKeptApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, eventstest.AccountsOptions{Change: func(text string) string {
		start, end := strings.Index(text, "  # --- The organization myorg"), strings.Index(text, "  # --- myorg ends here")
		if start < 0 || end < start {
			t.Fatal("the file has no part for an organization")
		}
		copied := strings.NewReplacer("MYORG {", "OTHER {", "myorg", "other").Replace(text[start:end])
		return text[:end] + copied + text[end:]
	}})
	other := logIn(t, w.Accounts, role{"other", "_INBOX_CLI.other", "JS.OMPS.API"})
	for _, of := range actions() {
		if strings.Contains(of.name, "its organization") || strings.Contains(of.name, "of others") || strings.Contains(of.name, "another organization") {
			w.seed()
			if err := of.do(w, w.as("myorg")); (err == nil) != slices.Contains(strings.Fields(of.can), "myorg") {
				t.Errorf("myorg %s: %v", of.name, err)
			}
		}
	}
	w.seed()
	for subject, may := range map[string]bool{
		"omps.request.push.other": true, "$O.omps-uploads-other.C.number": true,
		"omps.request.push.myorg": false, "$O.omps-uploads-myorg.C.number": false,
	} {
		if err := other.publish(subject, []byte("{}")); (err == nil) != may {
			t.Errorf("other on %s: %v", subject, err)
		}
	}
	for filter, may := range map[string]bool{"omps.result.*.other.>": true, "omps.result.*.myorg.>": false} {
		if err := other.read("OMPS_RESULTS", filter); (err == nil) != may {
			t.Errorf("other reads %s: %v", filter, err)
		}
	}
}

// secretNames are the variables of a file of the configuration.
func secretNames(t *testing.T, file, pattern string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployed, file))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return names
}

func TestSecretsAreWhatTheAccountsAskFor(t *testing.T) {
	t.Parallel()
	given := secretNames(t, "secrets.example.conf", `(?m)^([A-Z_]+): "\$2a\$11\$[a-z]+"$`)
	asked := secretNames(t, "accounts.conf", `password: \$([A-Z_]+)`)
	if len(asked) != len(roles) || !slices.Equal(given, asked) {
		t.Errorf("given %q, asked for %q", given, asked)
	}
	// The bcrypt placeholders let nobody in.
	text, err := os.ReadFile(filepath.Join(deployed, "accounts.conf"))
	if err != nil || strings.Contains(string(text), eventstest.Secret+`"`) || regexp.MustCompile(`password: [^$]`).Match(text) {
		t.Errorf("a password stands in accounts.conf: %v", err)
	}
}
