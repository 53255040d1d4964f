package events

import "github.com/omps-consumer/omps-consumer/internal/pipeline"

// bundleList takes the bundles of a publication as far as maxBundles goes: the
// images first, then their tags, then their channels, which everybody can also
// read in the images.
type bundleList struct {
	fit  []pipeline.PushedBundle
	size int // as JSON

	left, tagsLeft, channelsLeft int // how many did not fit
}

// add fills an empty list. Lists that are absent become empty ones: whoever
// reads a result may go through them without asking.
func (l *bundleList) add(pushed []pipeline.PushedBundle) {
	for i, b := range pushed {
		bare := pipeline.PushedBundle{
			Version: bounded(b.Version, maxText), CSV: bounded(b.CSV, maxText), Repository: bounded(b.Repository, maxText),
			Reference: b.Reference, DefaultChannel: bounded(b.DefaultChannel, maxText),
			Tags: []string{}, Channels: []string{},
		}
		if !l.takes(bare) {
			l.left = len(pushed) - i
			break
		}
		l.fit = append(l.fit, bare)
	}
	for i := range l.fit {
		l.fit[i].Tags, l.tagsLeft = l.addTexts(pushed[i].Tags, l.tagsLeft)
	}
	for i := range l.fit {
		l.fit[i].Channels, l.channelsLeft = l.addTexts(pushed[i].Channels, l.channelsLeft)
	}
}

// addTexts returns the texts that fit, and left with the others added.
func (l *bundleList) addTexts(texts []string, left int) (fit []string, sum int) {
	fit = []string{}
	for i, text := range texts {
		if !l.takes(text) {
			return fit, left + len(texts) - i
		}
		fit = append(fit, text)
	}
	return fit, left
}

// takes counts a value in if there is room for it.
func (l *bundleList) takes(value any) bool {
	size := sizeOf(value)
	if size > maxBundles-l.size {
		return false
	}
	l.size += size
	return true
}
