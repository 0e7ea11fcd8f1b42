package io.hydraopt

import java.util.concurrent.locks.ReentrantLock

/**
 * Lets calls of a session take turns, on any thread.
 *
 * @param free ends the session; runs once, when it is closed and no call runs.
 */
internal class Turns(private val free: () -> Unit) {
    private val lock = ReentrantLock(true)
    private var calling = "" // with the lock
    private var freed = false // with the lock

    /** Whether the session is closed, or will be when the running call ends. */
    @Volatile
    var isClosing = false
        private set

    /** Runs a call after those before it. Throws [UsageException] after the end, or inside one. */
    inline fun <T> take(name: String, body: () -> T): T {
        enter(name)
        try {
            return body()
        } finally {
            leave()
        }
    }

    fun enter(name: String) {
        if (lock.isHeldByCurrentThread) {
            throw UsageException(
                "$name was called by the function that $calling calls; call it after $calling"
            )
        }
        lock.lock()
        calling = name
        if (isClosing) {
            leave()
            throw closed(name)
        }
    }

    fun leave() {
        lock.unlock()
        if (isClosing) tryToFree()
    }

    fun closed(name: String) =
        UsageException("$name was called on a closed session; open it again")

    /** Closes the session at once, or with the end of the call that runs. */
    fun close() {
        isClosing = true
        tryToFree()
    }

    private fun tryToFree() {
        if (lock.isHeldByCurrentThread || !lock.tryLock()) return // who holds it frees it
        try {
            if (!freed) free()
            freed = true
        } finally {
            lock.unlock()
        }
    }
}
