package pipeline

import (
	tsv "encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// corpusDir is where real and hostile archives lie, when they lie beside the
// checkout.
const corpusDir = "../../../shared/corpus"

// corpusCase is a line of the corpus's bad.tsv.
type corpusCase struct{ file, group, expect, stage, note string }

func hostileCorpus(t *testing.T) []corpusCase {
	t.Helper()
	var cases []corpusCase
	readCorpus(t, filepath.Join("bad", "bad.tsv"), func(at func(column string) string) {
		cases = append(cases, corpusCase{at("file"), at("group"), at("expect"), at("stage"), at("note")})
	})
	return cases
}

// readCorpus calls visit for each line of one of the corpus's tables.
func readCorpus(t *testing.T, name string, visit func(at func(column string) string)) {
	t.Helper()
	f, err := os.Open(filepath.Join(corpusDir, name))
	if err != nil {
		t.Skipf("the optional corpus is not here: %v", err)
	}
	defer f.Close()
	r := tsv.NewReader(f)
	r.Comma, r.FieldsPerRecord, r.LazyQuotes = '\t', -1, true
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		visit(func(column string) string { return row[slices.Index(rows[0], column)] })
	}
}

// realCorpus lists the real archives of the given kinds, such as "bundle".
func realCorpus(t *testing.T, kinds ...string) []string {
	t.Helper()
	var files []string
	for _, kind := range kinds {
		found, err := filepath.Glob(filepath.Join(corpusDir, "good", kind, "*.zip"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Skip("the optional corpus is not here")
	}
	if testing.Short() { // the race detector makes YAML ten times slower
		const each = 8
		sample := slices.Collect(func(yield func(string) bool) {
			for i := 0; i < len(files) && yield(files[i]); i += each {
			}
		})
		t.Logf("short: %d of %d archives", len(sample), len(files))
		return sample
	}
	return files
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
