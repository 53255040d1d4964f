package pipeline

import (
	"encoding/binary"
	"encoding/json"
	"hash/maphash"
	"math"
	"strconv"

	"github.com/klauspost/compress/gzip"
	"github.com/operator-framework/api/pkg/encoding"
	"gopkg.in/yaml.v3"
)

// Most of an operator's bytes are schemas, examples and icons, of which the
// api's default validators look at next to nothing: what they find in schemas
// they drop. What follows makes them small before they are decoded, so that
// validation takes milliseconds, also of hostile input.

// withoutSchemas returns a CRD's tree with a stand-in for each of its schemas.
// Equal schemas have equal stand-ins, since in v1beta1 the api compares them.
// Selectable fields, which are checked against the schema, go with it.
func withoutSchemas(root *yaml.Node) *yaml.Node {
	if versions := items(at(root, "spec", "versions")); len(versions) > 0 {
		list := yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, v := range versions {
			list.Content = append(list.Content, standIn(without(v, "selectableFields"), "schema", "openAPIV3Schema"))
		}
		root = with(root, &list, "spec", "versions")
	}
	if spec := at(root, "spec"); spec != nil {
		root = with(root, without(spec, "selectableFields"), "spec")
	}
	return standIn(root, "spec", "validation", "openAPIV3Schema")
}

// standIn replaces the schema at a path of keys, if there is one.
func standIn(n *yaml.Node, keys ...string) *yaml.Node {
	whole := at(n, keys...)
	if whole == nil || whole.Kind != yaml.MappingNode {
		return n
	}
	var sum maphash.Hash
	sum.SetSeed(seed)
	sumTree(&sum, whole)
	schema := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
		quotedNode("type"), quotedNode("object"), quotedNode("description"), quotedNode(strconv.FormatUint(sum.Sum64(), 16)),
	}}
	return with(n, schema, keys...)
}

// seed makes sums comparable; they never leave the process.
var seed = maphash.MakeSeed()

func sumTree(sum *maphash.Hash, n *yaml.Node) {
	if n = follow(n); n == nil {
		return
	}
	var shape [5]byte // with the length of what follows, so that no two trees read alike
	shape[0] = byte(n.Kind)
	binary.LittleEndian.PutUint32(shape[1:], uint32(len(n.Content)+len(n.Value)))
	sum.Write(shape[:])
	sum.WriteString(n.Value)
	for _, child := range n.Content {
		sumTree(sum, child)
	}
}

// without returns a mapping without a key.
func without(n *yaml.Node, key string) *yaml.Node {
	if !present(n, key) {
		return n
	}
	out := *follow(n)
	out.Content = nil
	for i, from := 0, follow(n).Content; i+1 < len(from); i += 2 {
		if from[i].Value != key {
			out.Content = append(out.Content, from[i], from[i+1])
		}
	}
	return &out
}

// quickExamples returns a CSV's tree that has of its examples only what the api
// compares with the CRDs: it reads them as YAML, which takes a hundred times
// longer than reading JSON. The examples of a bundle stay, for YAML refuses some
// of them.
func (c *olmChecker) quickExamples(root *yaml.Node) *yaml.Node {
	if c.bundle {
		return root
	}
	for _, name := range []string{"alm-examples", "olm.examples"} {
		keys := []string{"metadata", "annotations", name}
		var list, short []map[string]json.RawMessage
		if json.Unmarshal([]byte(textAt(root, keys...)), &list) != nil {
			continue
		}
		for _, example := range list {
			kept := make(map[string]json.RawMessage)
			for _, key := range []string{"apiVersion", "kind"} {
				if value, ok := example[key]; ok {
					kept[key] = value
				}
			}
			short = append(short, kept)
		}
		if text, err := json.Marshal(short); err == nil {
			root = with(root, quotedNode(string(text)), keys...)
		}
	}
	return root
}

// sizes are the bytes of a bundle's files as they are, and as OLM stores them in
// one ConfigMap: compressed and in base64. Where these must be few enough, they
// are a bound and not measured.
func sizes(inside []manifest) (plain, stored int64) {
	for _, m := range inside {
		plain += int64(len(m.file.Data))
	}
	const overhead = 64 // of gzip, of one file
	bound := plain + int64(len(inside)*overhead)
	if bound > fewBytes {
		bound = quicklyCompressed(inside)
	}
	if bound <= fewBytes {
		return plain, bound * 4 / 3
	}
	for _, m := range inside {
		data, err := encoding.GzipBase64Encode(m.file.Data)
		if err != nil {
			return plain, math.MaxInt64 // it only writes to memory
		}
		stored += int64(len(data))
	}
	return plain, stored
}

// fewBytes are in base64 less than what the api starts to warn at.
const fewBytes = 600 << 10

// quicklyCompressed is how many bytes are left when compressing takes no pains.
func quicklyCompressed(inside []manifest) int64 {
	var n counter
	z, err := gzip.NewWriterLevel(&n, gzip.BestSpeed)
	for _, m := range inside {
		if err == nil {
			z.Reset(&n)
			_, err = z.Write(m.file.Data)
		}
		if err == nil {
			err = z.Close()
		}
	}
	if err != nil {
		return math.MaxInt64 // then the true size is measured
	}
	return int64(n)
}

type counter int64

func (c *counter) Write(data []byte) (int, error) {
	*c += counter(len(data))
	return len(data), nil
}
