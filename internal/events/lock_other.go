//go:build !unix

package events

import (
	"os"
	"path/filepath"
)

// lockStore only marks the directory: these systems have no lock that ends
// with the process.
func lockStore(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
}
