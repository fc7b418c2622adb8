package caudal

// SpaceSize gives how many bytes the memory of a session has, 0 where it is that of the process.
func SpaceSize(s *Session) uint64 { return s.live.space.engine.Size() }
