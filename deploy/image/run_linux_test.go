package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// The real program runs among nothing but the image's files, as the image's user.
func TestImageRuns(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the whole program")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can change the root folder")
	}
	folder := t.TempDir()
	binary, root := filepath.Join(folder, "consumer"), filepath.Join(folder, "root")
	execute(t, "../..", "env", "GOARCH="+runtime.GOARCH, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./cmd/consumer")
	image(t, "-root", root, binary)
	within := func(args ...string) (stdout, stderr string) {
		var out, errs bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "/"+programFile, args...)
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", []string{"PATH=/usr/bin"}, &out, &errs
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: nonRoot, Gid: nonRoot}}
		if err := cmd.Run(); err != nil {
			t.Errorf("%q: %v: %s", args, err, &errs)
		}
		return out.String(), errs.String()
	}
	if out, _ := within("version"); !strings.HasPrefix(out, "consumer ") {
		t.Errorf("version: %s", out)
	}
	if out, errs := within("sandbox", "--once"); !strings.Contains(out, `"outcome":"published"`) {
		t.Errorf("the sandbox published nothing: %s%s", out, errs)
	}
}
