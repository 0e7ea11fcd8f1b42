package io.hydraopt

/**
 * Stops one generation: pass it to [TaskSession.generate].
 *
 * It may be cancelled before, during or after the call, on any thread, and stays cancelled: a
 * generation that starts later ends at once, with no token. Make a new one for every generation.
 */
class Cancellation {
    /** Whether [cancel] was called. */
    @Volatile
    var isCancelled = false
        private set

    /** Ends the generation after its current token, or before its first. */
    fun cancel() {
        isCancelled = true
    }
}
