package main

import "sync"

// maxListeners bounds the pages that are told of changes at once.
const maxListeners = 64

// pageHub tells open pages that there is something new. It is safe for
// concurrent use.
type pageHub struct {
	mu        sync.Mutex
	listeners map[chan string]struct{}
	done      chan struct{} // closed with the hub
	closed    bool
}

func newPageHub() *pageHub {
	return &pageHub{listeners: map[chan string]struct{}{}, done: make(chan struct{})}
}

// listen returns where versions come from now on, and how to end that. Of
// versions that are not taken in time only the last one is kept. It returns nil
// where there are too many listeners.
func (h *pageHub) listen() (versions <-chan string, end func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.listeners) >= maxListeners {
		return nil, nil
	}
	c := make(chan string, 1)
	h.listeners[c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listeners, c)
	}
}

// tell tells all listeners a version, and waits for none.
func (h *pageHub) tell(version string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.listeners {
		select {
		case <-c: // it is out of date
		default:
		}
		c <- version // there is room: only tell fills it
	}
}

func (h *pageHub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.listeners)
}

// close ends all listeners, and takes no more.
func (h *pageHub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.done)
	}
}
