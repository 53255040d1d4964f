package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// nonRoot is user and group of the service, by number since Kubernetes'
// runAsNonRoot knows no names. It is the one that other small images use.
const nonRoot = 65532

const (
	programFile   = "usr/bin/consumer"
	authorityFile = "etc/ssl/certs/ca-certificates.crt" // the first place where Go's crypto/x509 looks
	licenseFile   = "licenses/LICENSE"
	configFolder  = "etc/omps-consumer/"
	stateFolder   = "var/lib/omps-consumer/"
)

// entry is a file or folder of the image.
type entry struct {
	name  string // from the root, without a slash before it; a folder ends in one
	mode  fs.FileMode
	owner int // user and group
	data  []byte
}

func (e entry) isFolder() bool { return strings.HasSuffix(e.name, "/") }

// baseEntries are everything but the program, folders before what is in them.
func baseEntries(license []byte) []entry {
	folder := func(name string) entry { return entry{name: name, mode: 0o755} }
	file := func(name string, data []byte) entry { return entry{name: name, mode: 0o644, data: data} }
	entries := []entry{
		folder("etc/"),
		file("etc/group", fmt.Appendf(nil, "root:x:0:\nnonroot:x:%d:\n", nonRoot)),
		file("etc/passwd", fmt.Appendf(nil, "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:%[1]d:%[1]d:omps-consumer:/%[2]s:/sbin/nologin\n",
			nonRoot, strings.TrimSuffix(stateFolder, "/"))),
		folder(configFolder),
		folder("etc/ssl/"),
		folder("etc/ssl/certs/"),
		file(authorityFile, authorities()),
	}
	if len(license) > 0 {
		entries = append(entries, folder("licenses/"), file(licenseFile, license))
	}
	return append(entries,
		entry{name: "tmp/", mode: 0o777 | fs.ModeSticky}, // for the sandbox; the service needs none
		folder("usr/"),
		folder("usr/bin/"),
		folder("var/"),
		folder("var/lib/"),
		entry{name: stateFolder, mode: 0o700, owner: nonRoot}, // for nats.embedded.store_dir
	)
}

func programEntry(p program) entry { return entry{name: programFile, mode: 0o755, data: p.data} }

// authorities are Mozilla's certificate authorities as PEM. They come with a
// module, so go.sum pins them and an update is a change of go.mod; those of the
// machine that builds would be others on each. Some are trusted only for
// certificates from before a day, which a PEM file cannot say: these are left out.
func authorities() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // no error: neither headers nor a failing writer
		}
	}
	return out.Bytes()
}

// tarOf is a tar archive of the entries, as they would be on a machine where
// nobody ever touched them.
func tarOf(entries []entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: e.name, Mode: int64(e.mode.Perm()), Size: int64(len(e.data)),
			Uid: e.owner, Gid: e.owner, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}
		if e.isFolder() {
			header.Typeflag = tar.TypeDir
		}
		if e.mode&fs.ModeSticky != 0 {
			header.Mode |= 0o1000
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// writeTree writes the entries into a folder that is not there yet. What belongs
// to others than root only root can write.
func writeTree(dir string, entries []entry) error {
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // everybody reads an image's root folder
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, filepath.FromSlash(e.name))
		var err error
		if e.isFolder() {
			err = os.Mkdir(name, e.mode.Perm())
		} else {
			err = os.WriteFile(name, e.data, e.mode.Perm())
		}
		if err == nil {
			err = os.Chmod(name, e.mode) // whatever the umask is
		}
		if err == nil && e.owner != 0 {
			err = os.Chown(name, e.owner, e.owner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
