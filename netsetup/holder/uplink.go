package holder

import "os"

// uplink is a guest's link to its host.
type uplink struct {
	link   *Link
	host   Offer
	events chan event    // what the host says; closed when it has ended
	over   chan struct{} // closed when nobody listens any more
	ended  chan struct{}
}

// event is a message of the host's.
type event struct {
	Message
	files []*os.File
}

// read answers what the host asks, and passes on the rest.
func (u *uplink) read(mine func(uint64) (bool, error)) {
	defer close(u.ended)
	defer close(u.events)
	for {
		m, files, err := u.link.Receive()
		if err != nil {
			return
		}
		if m.Kind == KindWhose {
			a := Message{Kind: KindAnswer, ID: m.ID}
			if a.InTree, err = mine(m.Inode); err != nil {
				a.Error = err.Error()
			}
			closeAll(files)
			if u.link.Send(a) != nil {
				return
			}
			continue
		}
		select {
		case u.events <- event{m, files}:
		case <-u.over:
			closeAll(files)
			return
		}
	}
}

// close ends the link and waits for the reader.
func (u *uplink) close() error {
	close(u.over)
	err := u.link.Close()
	<-u.ended
	for e := range u.events {
		closeAll(e.files)
	}
	return err
}

// told is what the host says; of a holder that is no guest nothing.
func (u *uplink) told() <-chan event {
	if u == nil {
		return nil
	}
	return u.events
}
