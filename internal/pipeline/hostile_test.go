package pipeline

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// hostileDecisions has a line for each hostile archive whose end the corpus leaves
// to policy: whether it is published, and if not, why. -update writes it.
const hostileDecisions = "testdata/hostile.txt"

// TestHostileManifests: what the corpus says must be refused is refused, what must
// be accepted is accepted, and the rest ends as decided, none of them slowly.
func TestHostileManifests(t *testing.T) {
	limits := DefaultLimits()
	limits.FileBytes = limits.UnpackedBytes // the corpus knows OMPS's one limit
	goroutines := runtime.NumGoroutine()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var decisions strings.Builder
	for _, c := range hostileCorpus(t) {
		if c.stage == "upload" {
			continue
		}
		start := threadTime(t)
		err := prepareHostile(t, c, limits)
		if took := threadTime(t) - start; took > 10*time.Second && !testing.Short() { // the race detector takes ten times as long
			t.Errorf("%s took %s", c.file, took)
		}
		switch {
		case c.expect == "policy":
			fmt.Fprintf(&decisions, "%s: %s\n", c.file, decisionOn(err))
		case c.expect == "reject" && err == nil:
			t.Errorf("%s is accepted: %s", c.file, c.note)
		case c.expect == "accept" && err != nil:
			t.Errorf("%s is refused (%v): %s", c.file, err, c.note)
		}
		if err != nil && ClassOf(err) != Rejected {
			t.Errorf("%s is %s: %v", c.file, ClassOf(err), err)
		}
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Errorf("%d goroutines became %d", goroutines, now)
	}
	if *update {
		if err := os.WriteFile(hostileDecisions, []byte(decisions.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(readFile(t, hostileDecisions)), decisions.String()); diff != "" {
		t.Error(diff)
	}
}

func prepareHostile(t *testing.T, c corpusCase, limits Limits) error {
	t.Helper()
	files, err := ReadArchive(readFile(t, filepath.Join(corpusDir, "bad", c.file)), limits)
	if err != nil {
		return err
	}
	order := orderOf(t, files)
	if c.file == "control-bundle-osbs.zip" {
		order.Manifests.Build.Labels = anyLabels()
	}
	_, err = Prepare{}.Do(t.Context(), order)
	return err
}

// decisionOn is what became of an archive, in a line.
func decisionOn(err error) string {
	if err == nil {
		return "published"
	}
	says := err.Error()
	if faults := FaultsOf(err); len(faults) > 0 {
		says = faults[0]
	}
	line, _ := bufio.NewReader(strings.NewReader(says)).ReadString('\n')
	return fmt.Sprintf("%s, %.160s", ReasonOf(err), strings.TrimSpace(line))
}
