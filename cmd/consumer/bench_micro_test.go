//go:build linux

package main

import (
	"bufio"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// sample is what one run of a Go benchmark measured, by unit.
type sample map[string]float64

// micro measures parts of the work by the Go benchmarks of their packages, each
// beside its floor. The small archive decides.
func (b *bench) micro() {
	b.t.Helper()
	dir := b.benchData()
	samples := make(map[string][]sample)
	pipeline := b.compile("pipeline")
	events := b.compile("events")
	for range b.runs {
		b.runBenchmarks(samples, pipeline, dir, "^Benchmark(ReadArchive|Rewrite|Prove|PrepareWhole)$")
		b.runBenchmarks(samples, events, dir, "^BenchmarkPeek$")
	}
	for _, part := range []struct {
		figure, benchmark, unit string
		goal                    aim
	}{
		{"archive_read", "ReadArchive", "MB/s", atLeast(0.8)},
		{"rewrite", "Rewrite", "MB/s", atLeast(0.5)},
		{"rewrite and prove", "Prove", "MB/s", aim{}},
		{"prepare", "PrepareWhole", "ms", atMost(2)},
	} {
		for _, archive := range archivesOf(samples, part.benchmark) {
			name := part.figure
			if archive != "small" {
				name += " " + archive
			}
			of := func(side string) []float64 { return inUnit(samples[part.benchmark+"/"+archive+"/"+side], part.unit) }
			b.add(figure{name: name, unit: part.unit, service: of("service"), floor: of("floor"), target: part.goal})
		}
	}
	peek := samples["Peek"]
	b.add(figure{name: "classify", unit: "µs", service: inUnit(peek, "µs"), target: aim{bound: 5, most: true, value: true, with: "classify allocs"}})
	b.add(figure{name: "classify allocs", unit: "each", service: inUnit(peek, "allocs/op"), target: below(5)})
}

// benchData writes the archives that the benchmarks of other packages find in the
// folder that BENCH_DATA names.
func (b *bench) benchData() string {
	b.t.Helper()
	dir := b.t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	for name, size := range map[string]sizeOf{"small": smallArchive, "large": largeArchive} {
		archive, err := sandbox.Zip(benchPackage("bench-operator", size))
		if err != nil {
			b.t.Fatal(err)
		}
		write(name+".zip", archive)
	}
	if builds := corpusBuilds(b.t, 1); len(builds) > 0 && !b.quick {
		write("corpus.zip", builds[0].Archive)
	}
	return dir
}

// compile compiles the tests of a package.
func (b *bench) compile(pkg string) (binary string) {
	b.t.Helper()
	binary = filepath.Join(b.dir, pkg+".test")
	out, err := exec.Command("go", "test", "-c", "-o", binary, "../../internal/"+pkg).CombinedOutput()
	if err != nil {
		b.t.Fatalf("compile the benchmarks of %s: %v\n%s", pkg, err, out)
	}
	return binary
}

// runBenchmarks runs benchmarks once and adds what they print to samples.
func (b *bench) runBenchmarks(samples map[string][]sample, binary, data, pattern string) {
	b.t.Helper()
	cmd := exec.Command(binary, "-test.run=^$", "-test.bench="+pattern, "-test.benchtime=200ms", "-test.benchmem")
	cmd.Dir = filepath.Join("..", "..", "internal", strings.TrimSuffix(filepath.Base(binary), ".test"))
	cmd.Env = append(os.Environ(), "BENCH_DATA="+data)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", binary, err, out)
	}
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	for lines.Scan() {
		if name, s, ok := parseSample(lines.Text()); ok {
			samples[name] = append(samples[name], s)
		}
	}
}

// parseSample reads a line of a benchmark's output, by
// https://go.googlesource.com/proposal/+/master/design/14313-benchmark-format.md.
func parseSample(line string) (name string, s sample, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
		return "", nil, false
	}
	name = strings.TrimPrefix(fields[0], "Benchmark")
	if i := strings.LastIndexByte(name, '-'); i > 0 { // the number of processors
		name = name[:i]
	}
	s = make(sample)
	for i := 2; i+1 < len(fields); i += 2 {
		value, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return "", nil, false
		}
		s[fields[i+1]] = value
	}
	s["ms"], s["µs"] = s["ns/op"]/1e6, s["ns/op"]/1e3
	return name, s, true
}

func inUnit(samples []sample, unit string) []float64 {
	list := make([]float64, len(samples))
	for i, s := range samples {
		list[i] = s[unit]
	}
	return list
}

// archivesOf are the archives that a benchmark ran on, the small one first.
func archivesOf(samples map[string][]sample, benchmark string) []string {
	var archives []string
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(samples))) {
		if parts := strings.Split(name, "/"); parts[0] == benchmark && parts[2] == "service" {
			archives = append(archives, parts[1])
		}
	}
	return archives
}
