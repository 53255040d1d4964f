package pipeline

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// The benchmarks of this file measure parts of the work ("service") beside the
// least that they can take ("floor").

// eachArchive runs a benchmark for every archive of the folder that BENCH_DATA
// names, or for a few real ones.
func eachArchive(b *testing.B, service, floor func(b *testing.B, archive []byte)) {
	b.Helper()
	pattern := filepath.Join(corpusDir, "good", "packagemanifest-flat", "s*.zip")
	if dir := os.Getenv("BENCH_DATA"); dir != "" {
		pattern = filepath.Join(dir, "*.zip")
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		b.Skipf("no archives: BENCH_DATA names no folder of them, and the optional corpus is not here (%v)", err)
	}
	for _, file := range files {
		archive := readFile(b, file)
		name := strings.TrimSuffix(filepath.Base(file), ".zip")
		b.Run(name+"/service", func(b *testing.B) { service(b, archive) })
		b.Run(name+"/floor", func(b *testing.B) { floor(b, archive) })
	}
}

// unpacked are an archive's files. Their bytes are what b's throughput counts.
func unpacked(b *testing.B, archive []byte) []File {
	b.Helper()
	files, err := ReadArchive(archive, DefaultLimits())
	if err != nil {
		b.Fatal(err)
	}
	var size int64
	for _, f := range files {
		size += int64(len(f.Data))
	}
	b.SetBytes(size)
	b.ReportAllocs()
	return files
}

// BenchmarkReadArchive: the floor is archive/zip, read to the end.
func BenchmarkReadArchive(b *testing.B) {
	eachArchive(b, func(b *testing.B, archive []byte) {
		unpacked(b, archive)
		for b.Loop() {
			if _, err := ReadArchive(archive, DefaultLimits()); err != nil {
				b.Fatal(err)
			}
		}
	}, func(b *testing.B, archive []byte) {
		unpacked(b, archive)
		for b.Loop() {
			if err := readZipUnchecked(archive); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func readZipUnchecked(archive []byte) error {
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return err
	}
	for _, entry := range r.File {
		content, err := entry.Open()
		if err != nil {
			return err
		}
		if _, err := io.ReadAll(content); err != nil {
			return err
		}
		if err := content.Close(); err != nil {
			return err
		}
	}
	return nil
}

func textRules(b *testing.B) []Rule {
	b.Helper()
	return []Rule{mustRule(b, "quay.io", "registry.example.com", false), mustRule(b, "sample-org", "mirrored", false)}
}

// BenchmarkRewrite applies two rules of text, and finds which of them replace
// more than they may have been meant to. The floor is bytes.ReplaceAll.
func BenchmarkRewrite(b *testing.B) {
	rules := textRules(b)
	eachArchive(b, func(b *testing.B, archive []byte) {
		files := unpacked(b, archive)
		for b.Loop() {
			rewriteFiles(files, rules)
		}
	}, replaceAll)
}

// BenchmarkProve is BenchmarkRewrite and the proof that nothing else reads
// differently, by reading each changed file again.
func BenchmarkProve(b *testing.B) {
	rules := textRules(b)
	eachArchive(b, func(b *testing.B, archive []byte) {
		m := manifestsOf(b, unpacked(b, archive))
		for b.Loop() {
			if d := newDraft(m); len(d.replaceRegistries(rules)) != len(rules) || len(d.faults) > 0 {
				b.Fatal(d.faults)
			}
		}
	}, replaceAll)
}

func replaceAll(b *testing.B, archive []byte) {
	files := unpacked(b, archive)
	rules := textRules(b)
	for b.Loop() {
		for _, f := range files {
			for _, r := range rules {
				f.Data = bytes.ReplaceAll(f.Data, []byte(r.Old), []byte(r.New))
			}
		}
	}
}

// BenchmarkPrepareWhole reads, edits, validates and packs a package for one
// organization. The floor reads its YAML files as nodes, once.
func BenchmarkPrepareWhole(b *testing.B) {
	rules := textRules(b)
	eachArchive(b, func(b *testing.B, archive []byte) {
		files := unpacked(b, archive)
		for b.Loop() {
			order := orderOf(b, files)
			order.Organization.Rules = rules
			if _, err := (Prepare{}).Do(b.Context(), order); err != nil {
				b.Fatal(FaultsOf(err), err)
			}
		}
	}, func(b *testing.B, archive []byte) {
		files := slices.DeleteFunc(unpacked(b, archive), func(f File) bool { return !rewritable(f.Path) })
		for b.Loop() {
			for _, f := range files {
				var node yaml.Node
				if err := yaml.Unmarshal(f.Data, &node); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
