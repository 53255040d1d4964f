//go:build unix

package events

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockStore takes a store directory for this process, until the file is
// closed or the process ends, however it ends.
func lockStore(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("store directory %s is in use by another process: %w", dir, err)
	}
	return f, nil
}
