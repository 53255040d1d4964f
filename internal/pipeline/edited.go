package pipeline

import (
	"bytes"
	"strings"
)

// Edited is a file of which something else is published than the archive holds.
type Edited struct {
	Path   string // in the archive; of a file that was made, in its bundle
	Bundle string // version of the bundle that a file was made for
	Before []byte // nil: the file was made
	After  []byte
}

// editedFiles compares the files of an archive with what became of them, and with
// the bundles that were made of these. Those of a bare bundle have moved into its
// manifests folder meanwhile.
func editedFiles(archive, files []File, bundles []Bundle) []Edited {
	was, is := byPath(archive), byPath(files)
	var list []Edited
	for _, f := range files {
		name := f.Path
		before, ok := was[name]
		if !ok {
			name = strings.TrimPrefix(name, manifestsDir+"/")
			before, ok = was[name]
		}
		switch {
		case !ok:
			list = append(list, Edited{Path: f.Path, After: f.Data})
		case !bytes.Equal(before, f.Data):
			list = append(list, Edited{Path: name, Before: before, After: f.Data})
		}
	}
	for _, b := range bundles {
		for _, f := range b.Files {
			if strings.HasPrefix(f.Path, metadataDir+"/") && !bytes.Equal(is[f.Path], f.Data) {
				list = append(list, Edited{Path: f.Path, Bundle: b.Version, After: f.Data})
			}
		}
	}
	return list
}

func byPath(files []File) map[string][]byte {
	data := make(map[string][]byte, len(files))
	for _, f := range files {
		data[f.Path] = f.Data
	}
	return data
}
