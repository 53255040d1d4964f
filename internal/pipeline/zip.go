package pipeline

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// The zip format by PKWARE's APPNOTE.TXT 6.3.10; the comments name its
// sections. The reader is stricter than archive/zip on purpose: two readers
// must never disagree about what an archive holds, so every byte has to belong
// to exactly one entry, and local and central headers have to say the same.

const (
	sigLocal        = 0x04034b50 // 4.3.7
	sigCentral      = 0x02014b50 // 4.3.12
	sigEnd          = 0x06054b50 // 4.3.16
	sigEnd64        = 0x06064b50 // 4.3.14
	sigEnd64Locator = 0x07064b50 // 4.3.15

	lenLocal        = 30
	lenCentral      = 46
	lenEnd          = 22
	lenEnd64        = 56
	lenEnd64Locator = 20

	methodStored   = 0
	methodDeflated = 8

	flagEncrypted  = 1 << 0
	flagDescriptor = 1 << 3
	flagPatched    = 1 << 5
	flagStrong     = 1 << 6
	flagUTF8       = 1 << 11
	flagMasked     = 1 << 13

	extraZip64       = 1
	extraUnicodePath = 0x7075 // 4.6.9: another name for the same entry
)

// zipEntry is one entry as both of its headers describe it.
type zipEntry struct {
	name    string
	flags   uint16
	method  uint16
	creator uint8 // host system, 4.4.2.2
	attrs   uint32
	crc     uint32
	size    uint64 // uncompressed, as declared
	packed  []byte
	offset  uint64 // of the local header
}

// zipDirectory is where the central directory lies and what it should hold.
type zipDirectory struct{ offset, size, entries uint64 }

// readZip returns the entries of a zip archive in the order of its directory. It
// unpacks nothing. More than maxEntries is an error.
func readZip(data []byte, maxEntries int) ([]zipEntry, error) {
	dir, err := findDirectory(data)
	if err != nil {
		return nil, err
	}
	if dir.entries > uint64(maxEntries) {
		return nil, fmt.Errorf("%d entries, more than the limit of %d", dir.entries, maxEntries)
	}
	entries, packedSizes, err := readCentral(data[dir.offset:dir.offset+dir.size], int(dir.entries))
	if err != nil {
		return nil, err
	}
	return entries, locate(data[:dir.offset], entries, packedSizes)
}

// findDirectory reads the end records. The central directory has to end where
// they begin, and nothing may follow them.
func findDirectory(data []byte) (zipDirectory, error) {
	end, err := findEnd(data)
	if err != nil {
		return zipDirectory{}, err
	}
	r := data[end:]
	disk, dirDisk := binary.LittleEndian.Uint16(r[4:]), binary.LittleEndian.Uint16(r[6:])
	here, total := binary.LittleEndian.Uint16(r[8:]), binary.LittleEndian.Uint16(r[10:])
	dir := zipDirectory{
		entries: uint64(total),
		size:    uint64(binary.LittleEndian.Uint32(r[12:])),
		offset:  uint64(binary.LittleEndian.Uint32(r[16:])),
	}
	dirEnd := uint64(end)
	if end >= lenEnd64Locator && binary.LittleEndian.Uint32(data[end-lenEnd64Locator:]) == sigEnd64Locator {
		if dir, dirEnd, err = findDirectory64(data, end-lenEnd64Locator, dir); err != nil {
			return zipDirectory{}, err
		}
	} else if disk != 0 || dirDisk != 0 || here != total {
		return zipDirectory{}, errors.New("spans several disks")
	}
	if dir.offset > dirEnd || dir.size != dirEnd-dir.offset {
		return zipDirectory{}, errors.New("the central directory is not where the archive says")
	}
	return dir, nil
}

// findEnd finds the end record, whose comment has to reach exactly to the end
// of the archive. It is the last signature there is: readers differ about
// which of several counts.
func findEnd(data []byte) (int, error) {
	for i := len(data) - lenEnd; i >= 0 && i >= len(data)-lenEnd-math.MaxUint16; i-- {
		if binary.LittleEndian.Uint32(data[i:]) != sigEnd {
			continue
		}
		if i+lenEnd+int(binary.LittleEndian.Uint16(data[i+20:])) != len(data) {
			return 0, errors.New("its end record does not reach to the end")
		}
		if bytes.Contains(data[i+lenEnd:], data[i:i+4]) {
			return 0, errors.New("has an end record in its comment")
		}
		return i, nil
	}
	return 0, errors.New("not a zip file, or not all of one")
}

// findDirectory64 reads the zip64 end record that the locator at pos points
// to. What the plain record says in full has to agree.
func findDirectory64(data []byte, pos int, plain zipDirectory) (dir zipDirectory, dirEnd uint64, err error) {
	bad := errors.New("the zip64 end record is not where the archive says")
	at := binary.LittleEndian.Uint64(data[pos+8:])
	if at > uint64(pos) || uint64(pos)-at != lenEnd64 {
		return dir, 0, bad // no reader needs the extensible part, and some look past it
	}
	r := data[at:pos]
	if binary.LittleEndian.Uint32(r) != sigEnd64 || binary.LittleEndian.Uint64(r[4:]) != uint64(len(r))-12 {
		return dir, 0, bad
	}
	if binary.LittleEndian.Uint32(r[16:]) != 0 || binary.LittleEndian.Uint32(r[20:]) != 0 ||
		binary.LittleEndian.Uint64(r[24:]) != binary.LittleEndian.Uint64(r[32:]) {
		return dir, 0, errors.New("spans several disks")
	}
	dir = zipDirectory{
		entries: binary.LittleEndian.Uint64(r[32:]),
		size:    binary.LittleEndian.Uint64(r[40:]),
		offset:  binary.LittleEndian.Uint64(r[48:]),
	}
	if plain.entries != math.MaxUint16 && plain.entries != dir.entries ||
		plain.size != math.MaxUint32 && plain.size != dir.size ||
		plain.offset != math.MaxUint32 && plain.offset != dir.offset {
		return dir, 0, errors.New("has two end records that differ")
	}
	return dir, at, nil
}

// readCentral reads the central directory, which has to hold exactly count
// entries. It returns the declared packed sizes beside the entries.
func readCentral(dir []byte, count int) (entries []zipEntry, packedSizes []uint64, err error) {
	for len(entries) < count {
		if len(dir) < lenCentral || binary.LittleEndian.Uint32(dir) != sigCentral {
			return nil, nil, fmt.Errorf("the central directory ends after %d of %d entries", len(entries), count)
		}
		nameLen, extraLen := int(binary.LittleEndian.Uint16(dir[28:])), int(binary.LittleEndian.Uint16(dir[30:]))
		length := lenCentral + nameLen + extraLen + int(binary.LittleEndian.Uint16(dir[32:]))
		if len(dir) < length {
			return nil, nil, fmt.Errorf("the central directory ends after %d of %d entries", len(entries), count)
		}
		e := zipEntry{
			creator: dir[5],
			flags:   binary.LittleEndian.Uint16(dir[8:]),
			method:  binary.LittleEndian.Uint16(dir[10:]),
			crc:     binary.LittleEndian.Uint32(dir[16:]),
			size:    uint64(binary.LittleEndian.Uint32(dir[24:])),
			attrs:   binary.LittleEndian.Uint32(dir[38:]),
			offset:  uint64(binary.LittleEndian.Uint32(dir[42:])),
			name:    string(dir[lenCentral : lenCentral+nameLen]),
		}
		packed := uint64(binary.LittleEndian.Uint32(dir[20:]))
		extra := dir[lenCentral+nameLen : lenCentral+nameLen+extraLen]
		if err := readZip64Extra(extra, &e.size, &packed, &e.offset); err != nil {
			return nil, nil, fmt.Errorf("%q: %w", e.name, err)
		}
		if disk := binary.LittleEndian.Uint16(dir[34:]); disk != 0 {
			return nil, nil, errors.New("spans several disks")
		}
		entries, packedSizes = append(entries, e), append(packedSizes, packed)
		dir = dir[length:]
	}
	if len(dir) > 0 {
		return nil, nil, fmt.Errorf("the central directory holds more than its %d entries", count)
	}
	return entries, packedSizes, nil
}

// readZip64Extra replaces, in the order of section 4.5.3, those values that
// their 32-bit field could not hold.
func readZip64Extra(extra []byte, values ...*uint64) error {
	var field []byte
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if len(extra) < 4+n {
			break // some writers pad with less than a header
		}
		if id == extraUnicodePath {
			return errors.New("has a second name")
		}
		if id == extraZip64 && field == nil {
			field = extra[4 : 4+n]
		}
		extra = extra[4+n:]
	}
	for _, v := range values {
		if *v != math.MaxUint32 {
			continue
		}
		if len(field) < 8 {
			return errors.New("a size is missing from the zip64 field")
		}
		*v, field = binary.LittleEndian.Uint64(field), field[8:]
	}
	return nil
}

// locate finds the packed bytes of every entry, compares the local headers
// with the central ones and sees to it that the entries cover body exactly.
func locate(body []byte, entries []zipEntry, packedSizes []uint64) error {
	order := make([]int, len(entries))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case entries[a].offset < entries[b].offset:
			return -1
		case entries[a].offset > entries[b].offset:
			return 1
		}
		return 0
	})
	var next uint64 // where the next local header has to be
	for _, i := range order {
		e := &entries[i]
		if e.offset != next {
			return fmt.Errorf("%q: its data overlaps another entry's or leaves bytes that belong to none", e.name)
		}
		end, err := e.readLocal(body, packedSizes[i])
		if err != nil {
			return fmt.Errorf("%q: %w", e.name, err)
		}
		next = end
	}
	if next != uint64(len(body)) {
		return errors.New("has bytes that belong to no entry")
	}
	return nil
}

// readLocal reads the local header at e.offset, compares it, takes the packed
// bytes and returns where the entry ends.
func (e *zipEntry) readLocal(body []byte, packed uint64) (end uint64, err error) {
	rest := body[e.offset:]
	if len(rest) < lenLocal || binary.LittleEndian.Uint32(rest) != sigLocal {
		return 0, errors.New("no local header where the directory says")
	}
	nameLen, extraLen := int(binary.LittleEndian.Uint16(rest[26:])), int(binary.LittleEndian.Uint16(rest[28:]))
	start := lenLocal + nameLen + extraLen
	if len(rest) < start || uint64(len(rest)-start) < packed {
		return 0, errors.New("its data reaches beyond the archive")
	}
	name, extra := rest[lenLocal:lenLocal+nameLen], rest[lenLocal+nameLen:start]
	if string(name) != e.name || binary.LittleEndian.Uint16(rest[6:]) != e.flags ||
		binary.LittleEndian.Uint16(rest[8:]) != e.method {
		return 0, errors.New("local and central header differ")
	}
	crc := binary.LittleEndian.Uint32(rest[14:])
	localPacked, localSize := uint64(binary.LittleEndian.Uint32(rest[18:])), uint64(binary.LittleEndian.Uint32(rest[22:]))
	if err := readZip64Extra(extra, &localSize, &localPacked); err != nil {
		return 0, err
	}
	same := crc == e.crc && localPacked == packed && localSize == e.size
	blank := crc == 0 && localPacked == 0 && localSize == 0
	described := e.flags&flagDescriptor != 0
	if !same && (!described || !blank) {
		return 0, errors.New("local and central header differ")
	}
	e.packed = rest[start : uint64(start)+packed]
	end = e.offset + uint64(start) + packed
	if described {
		n, err := e.descriptorLen(body[end:], packed)
		if err != nil {
			return 0, err
		}
		end += n
	}
	return end, nil
}

// descriptorLen is the length of the data descriptor (4.3.9) that rest begins
// with: with or without its signature, with 32-bit or 64-bit sizes.
func (e *zipEntry) descriptorLen(rest []byte, packed uint64) (uint64, error) {
	var want [24]byte
	copy(want[:], "PK\x07\x08")
	binary.LittleEndian.PutUint32(want[4:], e.crc)
	binary.LittleEndian.PutUint64(want[8:], packed)
	binary.LittleEndian.PutUint64(want[16:], e.size)
	for _, d := range [][]byte{want[:], want[4:]} {
		if bytes.HasPrefix(rest, d) {
			return uint64(len(d)), nil
		}
	}
	var short [16]byte
	copy(short[:], want[:8])
	binary.LittleEndian.PutUint32(short[8:], uint32(packed))
	binary.LittleEndian.PutUint32(short[12:], uint32(e.size))
	for _, d := range [][]byte{short[:], short[4:]} {
		if bytes.HasPrefix(rest, d) {
			return uint64(len(d)), nil
		}
	}
	return 0, errors.New("its data descriptor differs from the directory")
}
