package koji

import (
	"maps"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// image is an entry of listArchives as OSBS leaves it, with pairs of labels.
func image(labels ...string) string {
	for i := 1; i < len(labels); i += 2 {
		labels[i] = "<string>" + labels[i] + "</string>"
	}
	inner := structure(labels...)
	for _, key := range []string{"Labels", "config", "config", "docker", "extra"} {
		inner = structure(key, inner)
	}
	return inner
}

func TestFindLabels(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer string
		want   map[string]string
	}{
		"one image":                    {array(image("a", "1", "b", "2")), map[string]string{"a": "1", "b": "2"}},
		"two architectures":            {array(image("a", "1", "arch", "x"), image("a", "1", "arch", "y")), map[string]string{"a": "1"}},
		"an archive that is no image":  {array(structure("filename", "<string>x.log</string>"), image("a", "1")), map[string]string{"a": "1"}},
		"no archive":                   {array(), nil},
		"no labels":                    {array(structure("extra", structure("docker", "<nil/>"))), nil},
		"a label that is not a string": {array(structure("extra", structure("docker", structure("config", structure("config", structure("Labels", structure("a", "<int>1</int>"))))))), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, always(answer(tc.answer)), always(nil))
			got, err := c.FindLabels(t.Context(), pipeline.HubBuild{ID: 7})
			if err != nil || !maps.Equal(got, tc.want) {
				t.Errorf("%v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

func TestFindLabelsOfAnOddAnswer(t *testing.T) {
	t.Parallel()
	c := newClient(t, always(answer("<string>no</string>")), always(nil))
	_, err := c.FindLabels(t.Context(), pipeline.HubBuild{ID: 7})
	if pipeline.ClassOf(err) != pipeline.Transient || pipeline.ReasonOf(err) != pipeline.ReasonKojiUnavailable {
		t.Error(err)
	}
}
