package pipeline

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkPrepare takes what fetching has parsed through edits, validation and
// packing, for one organization.
func BenchmarkPrepare(b *testing.B) {
	if _, err := os.Stat(corpusDir); err != nil {
		b.Skipf("the optional corpus is not here: %v", err)
	}
	for _, name := range []string{
		"packagemanifest-nested/victoriametrics-operator-0.16.0.zip", // the largest, 10.7 MB
		"packagemanifest-odd/eclipse-che-7.32.2.zip",                 // the most versions, 69
		"packagemanifest-nested/camel-k-1.5.0.zip",                   // 4 MB
		"packagemanifest-flat/strimzi-kafka-operator-0.13.0.zip",
		"bundle/sn-operator-0.14.7.zip", // the largest bundle, 5.2 MB
	} {
		b.Run(filepath.Base(name), func(b *testing.B) {
			files, err := ReadArchive(readFile(b, filepath.Join(corpusDir, "good", name)), DefaultLimits())
			if err != nil {
				b.Fatal(err)
			}
			order := orderOf(b, files)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := (Prepare{}).Do(b.Context(), order); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
