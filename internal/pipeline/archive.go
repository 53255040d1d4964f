package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/flate"
)

// ReadArchive unpacks a zip archive in memory and returns its regular files
// sorted by path. Whatever is not a plain, complete and unambiguous archive
// within the limits is Rejected as bad-archive.
func ReadArchive(data []byte, limits Limits) ([]File, error) {
	archive, err := openArchive(data, limits)
	if err != nil {
		return nil, err
	}
	return archive.files()
}

// zipArchive is an archive whose directory has been read: its names and the
// sizes that it declares are within the limits. Nothing is unpacked yet.
type zipArchive []zipEntry

// openArchive is the first half of ReadArchive.
func openArchive(data []byte, limits Limits) (zipArchive, error) {
	entries, err := readZip(data, limits.Files)
	if err == nil {
		err = checkNames(entries, limits)
	}
	if err == nil {
		err = checkDeclared(entries, limits)
	}
	if err != nil {
		return nil, badArchive(err)
	}
	return entries, nil
}

func badArchive(err error) error {
	return Reject(ReasonBadArchive, fmt.Errorf("archive: %w", err))
}

// bytes is what the files say that they are together.
func (a zipArchive) bytes() int64 {
	n := int64(0)
	for _, e := range a {
		n += int64(e.size)
	}
	return n
}

// files unpacks the regular files, sorted by path.
func (a zipArchive) files() ([]File, error) {
	files := make([]File, 0, len(a))
	unpacker, ok := flate.NewReader(nil).(inflater)
	if !ok {
		return nil, badArchive(errors.New("the inflater cannot be used again"))
	}
	for _, e := range a {
		if strings.HasSuffix(e.name, "/") {
			continue
		}
		content, err := e.content(unpacker)
		if err != nil {
			return nil, badArchive(fmt.Errorf("%q: %w", e.name, err))
		}
		files = append(files, File{Path: e.name, Data: content})
	}
	sortFiles(files)
	return files, nil
}

func sortFiles(files []File) {
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
}

// checkNames sees to it that every entry is a regular file or a directory with
// a name that means the same to every reader and every file system.
func checkNames(entries []zipEntry, limits Limits) error {
	seen := make(map[string]bool, len(entries)) // folded name: is it a directory
	for _, e := range entries {
		name, isDir := strings.CutSuffix(e.name, "/")
		if err := checkName(name, e.flags, limits); err != nil {
			return fmt.Errorf("%.300q: %w", e.name, err)
		}
		if err := e.checkKind(isDir); err != nil {
			return fmt.Errorf("%q: %w", e.name, err)
		}
		folded := strings.ToLower(name)
		if _, ok := seen[folded]; ok {
			return fmt.Errorf("%q: another entry has this name, at most in other letter case", e.name)
		}
		seen[folded] = isDir
	}
	for name := range seen {
		for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
			if isDir, ok := seen[name[:i]]; ok && !isDir {
				return fmt.Errorf("%q: is a file and a directory", name[:i])
			}
		}
	}
	return nil
}

func checkName(name string, flags uint16, limits Limits) error {
	switch {
	case len(name) > limits.NameBytes:
		return fmt.Errorf("name of %d bytes, more than the limit of %d", len(name), limits.NameBytes)
	case strings.Count(name, "/")+1 > limits.Depth:
		return fmt.Errorf("more than %d levels deep", limits.Depth)
	case !utf8.ValidString(name):
		return errors.New("name is not UTF-8")
	case flags&flagUTF8 == 0 && strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }):
		return errors.New("name is not ASCII and not marked as UTF-8")
	case !fs.ValidPath(name) || name == ".":
		return errors.New("not a plain relative path")
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == ':' }):
		return errors.New("name holds a character that no manifest's name needs")
	}
	return nil
}

// checkKind refuses what is neither a regular file nor a directory, and what
// cannot be read as one.
func (e *zipEntry) checkKind(isDir bool) error {
	const unix, darwin = 3, 19 // host systems whose mode is in the upper half of attrs
	const typeMask, typeDir, typeRegular = 0o170000, 0o040000, 0o100000
	const dosDir = 0x10 // in the lower half, whatever the host system
	kind := uint32(0)
	if e.creator == unix || e.creator == darwin {
		kind = e.attrs >> 16 & typeMask
	}
	switch {
	case kind != 0 && kind != typeDir && kind != typeRegular:
		return errors.New("neither a regular file nor a directory")
	case !isDir && (kind == typeDir || e.attrs&dosDir != 0), isDir && kind == typeRegular:
		return errors.New("its name and its attributes differ on whether it is a directory")
	case e.flags&(flagEncrypted|flagStrong|flagMasked) != 0:
		return errors.New("is encrypted")
	case e.flags&flagPatched != 0:
		return errors.New("is a patch")
	case e.method != methodStored && e.method != methodDeflated:
		return fmt.Errorf("packed with method %d; stored and deflated are read", e.method)
	case isDir && (e.size != 0 || e.crc != 0):
		return errors.New("is a directory with data")
	}
	return nil
}

// checkDeclared refuses early what says itself that it is too large.
func checkDeclared(entries []zipEntry, limits Limits) error {
	left := uint64(limits.UnpackedBytes)
	for _, e := range entries {
		if e.size > uint64(limits.FileBytes) {
			return fmt.Errorf("%q: %d bytes, more than the limit of %d for a file", e.name, e.size, limits.FileBytes)
		}
		if e.size > left {
			return fmt.Errorf("more than the limit of %d bytes unpacked", limits.UnpackedBytes)
		}
		left -= e.size
	}
	return nil
}

// inflater unpacks one deflate stream after the other.
type inflater interface {
	io.Reader
	flate.Resetter
}

// content unpacks one entry. Its declared size has been checked against the
// limits, and not a byte more than that is produced.
func (e *zipEntry) content(unpacker inflater) ([]byte, error) {
	data := e.packed
	if e.method == methodDeflated {
		var err error
		if data, err = inflate(unpacker, e.packed, int(e.size)); err != nil {
			return nil, err
		}
	}
	if uint64(len(data)) != e.size {
		return nil, fmt.Errorf("%d bytes, its header says %d", len(data), e.size)
	}
	if crc32.ChecksumIEEE(data) != e.crc {
		return nil, errors.New("its checksum does not match")
	}
	return data, nil
}

func inflate(unpacker inflater, packed []byte, size int) ([]byte, error) {
	src := bytes.NewReader(packed)
	if err := unpacker.Reset(src, nil); err != nil {
		return nil, err
	}
	// A declared size is only a promise: what cannot come out of so few packed
	// bytes is not allocated. Deflate expands by at most 1032 to 1.
	if size > 1032*len(packed)+lenLocal {
		return nil, fmt.Errorf("%d packed bytes cannot hold %d", len(packed), size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(unpacker, data); err != nil {
		return nil, fmt.Errorf("inflate: %w", err)
	}
	if _, err := io.ReadFull(unpacker, make([]byte, 1)); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more bytes than its header says")
	}
	if src.Len() != 0 {
		return nil, errors.New("has bytes behind its packed data")
	}
	return data, nil
}
