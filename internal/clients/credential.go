package clients

import (
	"io/fs"
	"log/slog"
	"os"
	"sync"
)

// Credential is a secret that is asked for anew each time it is shown to
// somebody: a Secret, or a SecretFile whose content may be replaced meanwhile. A nil
// Credential is none.
type Credential interface{ Secret() Secret }

// Secret is s itself, the Credential that never changes.
func (s Secret) Secret() Secret { return s }

// SecretOf is what a credential is now, "" when it is nil.
func SecretOf(c Credential) Secret {
	if c == nil {
		return ""
	}
	return c.Secret()
}

// SecretFile is a secret that lies in a file. A rotated one needs no restart: the
// file is looked at whenever the secret is asked for, and read when it was
// replaced or written. It is safe for concurrent use.
type SecretFile struct {
	path string
	read func(path string) (Secret, error)
	log  *slog.Logger

	mu      sync.Mutex
	secret  Secret      // the last one that could be used
	seen    fs.FileInfo // of the file that secret was in; nil: not known
	refused string      // why the file cannot be used, as was logged
}

// FollowSecret follows the file at path from now on. secret is what was read from
// it before; it stays in use while the file cannot be read, which log, if it is not
// nil, is told once. read reads the file; its errors do not hold the secret.
func FollowSecret(path string, secret Secret, read func(path string) (Secret, error), log *slog.Logger) *SecretFile {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &SecretFile{path: path, read: read, secret: secret, log: log}
}

// Secret is what the file holds, or held when it could last be read.
func (f *SecretFile) Secret() Secret {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err == nil && f.seen != nil && unchanged(f.seen, info) {
		return f.secret
	}
	var secret Secret
	if err == nil {
		secret, err = f.read(f.path)
	}
	if err != nil {
		f.refuse(err)
		return f.secret
	}
	if secret != f.secret {
		f.log.Info("a secret was replaced", "file", f.path)
	}
	f.secret, f.seen, f.refused = secret, info, ""
	return f.secret
}

func (f *SecretFile) refuse(err error) {
	f.seen = nil
	if why := OneLine(err.Error(), maxText); why != f.refused {
		f.refused = why
		f.log.Warn("a secret cannot be read, the one before stays in use", "file", f.path, "err", why)
	}
}

// unchanged tells whether a file is the one seen before and was not written since.
func unchanged(before, now fs.FileInfo) bool {
	return os.SameFile(before, now) && before.ModTime().Equal(now.ModTime()) && before.Size() == now.Size()
}
