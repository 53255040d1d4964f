package sandbox

import (
	"embed"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

//go:embed sample
var sampleFiles embed.FS

// SampleOperator is the name of the sample operator's package.
const SampleOperator = "sample-operator"

// SamplePackage is the sample operator as package manifests: a package file
// with two channels, and the versions 1.0.0 and 1.1.0, each in a folder.
func SamplePackage() []pipeline.File { return sampleTree("package", "") }

// SampleFirstPackage is the sample operator when it had version 1.0.0 alone.
// That version's files are the same as in SamplePackage.
func SampleFirstPackage() []pipeline.File {
	files := sampleTree("package", "")
	files = slices.DeleteFunc(files, func(f pipeline.File) bool { return strings.HasPrefix(f.Path, "1.1.0/") })
	for i := range files {
		if !strings.Contains(files[i].Path, "/") {
			files[i].Data = sampleFile("first.package.yaml")
		}
	}
	return files
}

// SampleOf is SampleFirstPackage under another package name and in another
// version, both throughout: in names of files and of the CSV, and in references.
func SampleOf(name, version string) []pipeline.File {
	rename := strings.NewReplacer(SampleOperator, name, "1.0.0", version)
	files := SampleFirstPackage()
	for i, f := range files {
		files[i] = pipeline.File{Path: rename.Replace(f.Path), Data: []byte(rename.Replace(string(f.Data)))}
	}
	slices.SortFunc(files, func(a, b pipeline.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// SampleBundle is version 1.1.0 as a whole bundle: manifests/ and metadata/.
func SampleBundle() []pipeline.File {
	return append(sampleTree("package/1.1.0", "manifests"),
		pipeline.File{Path: "metadata/annotations.yaml", Data: sampleFile("annotations.yaml")})
}

// SampleBundleContent is version 1.1.0 as OSBS stores a bundle build: what is
// in manifests/, and nothing that says which package it is of.
func SampleBundleContent() []pipeline.File { return sampleTree("package/1.1.0", "") }

// SampleBundleLabels are the labels of the bundle's image; they say the same as
// metadata/annotations.yaml of SampleBundle.
func SampleBundleLabels() map[string]string {
	const prefix = "operators.operatorframework.io.bundle."
	return map[string]string{
		prefix + "mediatype.v1":       "registry+v1",
		prefix + "manifests.v1":       "manifests/",
		prefix + "metadata.v1":        "metadata/",
		prefix + "package.v1":         SampleOperator,
		prefix + "channels.v1":        "candidate,stable",
		prefix + "channel.default.v1": "stable",
	}
}

// SampleArchive is SamplePackage as Koji holds it.
func SampleArchive() []byte { return mustZip(SamplePackage()) }

// SampleArchiveOf is SampleOf as a zip archive.
func SampleArchiveOf(name, version string) []byte { return mustZip(SampleOf(name, version)) }

// SampleBundleArchive is SampleBundle as a zip archive.
func SampleBundleArchive() []byte { return mustZip(SampleBundle()) }

// sampleTree lists the embedded files below dir, sorted, their paths relative
// to it and then below prefix.
func sampleTree(dir, prefix string) []pipeline.File {
	sub, err := fs.Sub(sampleFiles, path.Join("sample", dir))
	if err != nil {
		panic(err) // the files are compiled in
	}
	files, err := readTree(sub)
	if err != nil {
		panic(err) // as above
	}
	for i := range files {
		files[i].Path = path.Join(prefix, files[i].Path)
	}
	return files
}

func sampleFile(name string) []byte {
	data, err := sampleFiles.ReadFile(path.Join("sample", name))
	if err != nil {
		panic(err) // as above
	}
	return data
}

func mustZip(files []pipeline.File) []byte {
	data, err := Zip(files)
	if err != nil {
		panic(err) // the names are compiled in
	}
	return data
}
