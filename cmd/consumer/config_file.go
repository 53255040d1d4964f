package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

// Bounds of the files that the configuration names. The whole of Mozilla's
// certificate authorities is a quarter of maxPEMBytes.
const (
	maxSecretBytes = 64 << 10
	maxPEMBytes    = 1 << 20
)

// readFiles finds the files that the configuration names, looks whether they
// can be used, and keeps the secrets. What NATS logs in with is left to its
// client, which reads it again at each connection.
func (c *Config) readFiles(f *faults, getenv func(string) string) {
	r := fileReader{faults: f, folder: filepath.Dir(f.file), getenv: getenv}
	r.resolve("nats.embedded.store_dir", &c.NATS.Embedded.StoreDir)
	r.read("nats.credentials_file", &c.NATS.CredentialsFile, true)
	r.read("nats.nkey_seed_file", &c.NATS.NKeySeedFile, true)
	r.secret("nats.password_file", &c.NATS.Password)
	r.authorities("nats.tls.ca_file", &c.NATS.TLS.CAFile)
	r.keyPair("nats.tls", &c.NATS.TLS.CertFile, &c.NATS.TLS.KeyFile)
	for i := range c.TLS.CAFiles {
		path := itemPath("tls.ca_files", i)
		if c.TLS.CAFiles[i].Written == "" {
			r.add(path, "expects a file")
		}
		r.authorities(path, &c.TLS.CAFiles[i])
	}
	r.secret("tracing.authorization_file", &c.Tracing.Authorization)
	for _, name := range c.names() {
		o, at := c.Organizations[name], joinPath("organizations", name)
		r.secret(at+".oauth_token_file", &o.OAuthToken)
		r.secret(at+".push_password_file", &o.PushPassword)
		r.secret(at+".app_registry_token_file", &o.AppRegistryToken)
		c.Organizations[name] = o
	}
	c.Bridge.readFiles(r)
}

// fileReader finds files. Its faults name a file as fileReader.shown says.
type fileReader struct {
	*faults
	folder string // where relative paths start
	getenv func(string) string
}

// variable is what is expanded in a path.
var variable = regexp.MustCompile(`\$\{[^{}]*\}?`)

// variableName is POSIX's, https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap08.html.
var variableName = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

// resolve sets file.Path and tells whether the file is set.
func (r *fileReader) resolve(path string, file *File) bool {
	if file.Written == "" {
		return false
	}
	expanded := variable.ReplaceAllStringFunc(file.Written, func(v string) string {
		m := variableName.FindStringSubmatch(v)
		if m == nil {
			r.add(path, "expects ${NAME} where it has ${")
			return ""
		}
		value := r.getenv(m[1])
		if value == "" {
			r.add(path, "the environment variable "+m[1]+" is not set")
		}
		return value
	})
	if !filepath.IsAbs(expanded) {
		expanded = filepath.Join(r.folder, expanded)
	}
	file.Path = expanded
	return true
}

// shown is how a fault names a file: the whole path, unless it came out of the
// environment, where a secret may lie that was put into a path by mistake.
func (f File) shown() string {
	if strings.Contains(f.Written, "${") {
		return f.Written
	}
	return f.Path
}

// authorities wants a file, if one is set, with certificates.
func (r *fileReader) authorities(path string, file *File) {
	data := r.read(path, file, false)
	if data != nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
		r.add(path, file.shown()+" holds no certificate in PEM form")
	}
}

// secret keeps what is in a file, if one is set.
func (r *fileReader) secret(path string, file *SecretFile) {
	data := r.read(path, &file.File, true)
	if data == nil {
		return
	}
	secret, err := secretOf(data)
	if err != nil {
		r.add(path, fmt.Sprintf("%s %v", file.shown(), err))
		return
	}
	file.Secret = clients.Secret(secret)
}

// Follow is the secret as it will be when the file is replaced, nil when none is
// configured. log is told of that, and of a file that cannot be used any more.
func (f SecretFile) Follow(log *slog.Logger) clients.Credential {
	if f.Path == "" {
		return nil
	}
	return clients.FollowSecret(f.Path, f.Secret, readSecret, log)
}

// readSecret reads a secret file again, as strictly as the first time.
func readSecret(name string) (clients.Secret, error) {
	data, _, err := readRegular(name, maxSecretBytes)
	if err != nil {
		return "", err
	}
	secret, err := secretOf(data)
	return clients.Secret(secret), err
}

// secretOf is the content of a secret file without the newline at its end.
func secretOf(data []byte) (string, error) {
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case text == "":
		return "", errors.New("is empty")
	case strings.ContainsFunc(text, unicode.IsControl):
		return "", errors.New("holds more than one line or a control character")
	}
	return text, nil
}

// read returns what is in a file, or nil when none is set or it has a fault.
// A private file should not be readable for everybody.
func (r *fileReader) read(path string, file *File, private bool) []byte {
	if !r.resolve(path, file) || r.seen[path] {
		return nil
	}
	limit := maxPEMBytes
	if private {
		limit = maxSecretBytes
	}
	data, mode, err := readRegular(file.Path, limit)
	if err != nil {
		r.add(path, fmt.Sprintf("cannot read %s: %v", file.shown(), err))
		return nil
	}
	const others = 0o004
	if private && mode.Perm()&others != 0 {
		r.warn(path, file.shown()+" can be read by every user of this machine")
	}
	return data
}

// readRegular reads a regular file: a pipe or a device could keep the start
// waiting. Its errors do not name the file.
func readRegular(name string, limit int) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, 0, unnamed(err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("not a regular file")
	}
	data, err := readCapped(name, limit)
	return data, info.Mode(), err
}

// readCapped reads a file of at most limit bytes. Its errors do not name it.
func readCapped(name string, limit int) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, unnamed(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, unnamed(err)
	}
	if len(data) > limit {
		return nil, fmt.Errorf("larger than %s", ByteSize(limit))
	}
	return data, nil
}

// unnamed is err without the path, which the fault names already or must not.
func unnamed(err error) error {
	var named *fs.PathError
	if errors.As(err, &named) {
		return named.Err
	}
	return err
}
