package koji

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// maxLabels is far beyond what any image has; more are not ours to carry.
const maxLabels = 1000

// FindLabels reads the labels of a build's container images: listArchives of
// type image, extra.docker.config.config.Labels, as OSBS leaves them. A build of
// several architectures has an image for each; labels in which they differ are
// left out. A build without images, or whose images tell none, has no labels.
//
// Errors are Transient with ReasonKojiUnavailable.
func (c *Client) FindLabels(ctx context.Context, b pipeline.HubBuild) (map[string]string, error) {
	const method = "listArchives"
	answer, err := c.call(ctx, method, archiveQuery{BuildID: b.ID, Type: "image", Starstar: true})
	if err != nil {
		return nil, err
	}
	images, ok := answer.([]any)
	if !ok {
		return nil, unusable(method, errors.New("answer is not an array"))
	}
	var labels map[string]string
	for _, image := range images {
		own := labelsOf(image)
		switch {
		case len(own) > maxLabels:
			return nil, unusable(method, fmt.Errorf("an image has %d labels", len(own)))
		case len(own) == 0: // not every archive of the type is a container's
		case labels == nil:
			labels = own
		default:
			maps.DeleteFunc(labels, func(name, value string) bool { return own[name] != value })
		}
	}
	return labels, nil
}

// labelsOf is the labels in an entry of listArchives.
func labelsOf(entry any) map[string]string {
	fields, _ := entry.(map[string]any)
	for _, key := range []string{"extra", "docker", "config", "config", "Labels"} {
		fields = within(fields, key)
	}
	labels := make(map[string]string, len(fields))
	for name, value := range fields {
		if s, ok := value.(string); ok {
			labels[name] = s
		}
	}
	return labels
}
