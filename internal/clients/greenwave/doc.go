// Package greenwave asks Greenwave whether a build may be published.
package greenwave
