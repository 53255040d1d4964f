package systemd_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// systemd takes the units, and finds little that they could do to the machine.
func TestUnits(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	units, err := filepath.Glob("*.service")
	if err != nil || len(units) != 2 {
		t.Fatalf("%v: %v, want those of the service and of the bridge", err, units)
	}
	for _, unit := range units {
		t.Run(unit, func(t *testing.T) {
			t.Parallel()
			checkUnit(t, unit)
		})
	}
}

func checkUnit(t *testing.T, unit string) {
	data, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The program is not installed here, and verify wants one.
	if !bytes.Contains(data, []byte("ExecStart=/usr/bin/consumer ")) {
		t.Errorf("ExecStart is another program")
	}
	file := filepath.Join(t.TempDir(), unit)
	if err := os.WriteFile(file, bytes.ReplaceAll(data, []byte("/usr/bin/consumer"), []byte(self)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := analyze(t, "verify", "--man=no", file); err != nil || out != "" {
		t.Errorf("verify: %v: %s", err, out)
	}
	const exposure = "15" // in tenths; it is at 1.2 of 10
	if out, err := analyze(t, "security", "--offline=yes", "--no-pager", "--threshold="+exposure, file); err != nil {
		t.Errorf("security: %v: %s", err, out)
	}
}

func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
	text := string(out)
	if strings.Contains(text, "unrecognized option") {
		t.Skipf("this systemd-analyze is too old: %s", text)
	}
	return text, err
}
