package io.hydraopt

/** Restricts a session to its thread and to one call at a time. */
internal class Owner {
    private val thread = Thread.currentThread()
    private var calling: String? = null
    private var closed = false

    /** Runs a call of the session. Throws [UsageException] on a wrong thread or at a wrong time. */
    inline fun <T> call(name: String, body: () -> T): T {
        enter(name)
        try {
            return body()
        } finally {
            calling = null
        }
    }

    fun enter(name: String) {
        checkHere(name)
        if (closed) throw UsageException("$name was called on a closed session; open it again")
        calling = name
    }

    private fun checkHere(name: String) {
        val here = Thread.currentThread()
        if (here !== thread) {
            throw UsageException(
                "$name was called on thread ${here.name}, expected ${thread.name}, which opened " +
                    "the session; call it there"
            )
        }
        calling?.let {
            throw UsageException(
                "$name was called while $it runs; wait for its end, or cancel it"
            )
        }
    }

    /** Runs [body] once. */
    fun close(body: () -> Unit) {
        checkHere("close")
        if (!closed) body()
        closed = true
    }
}
