package io.hydraopt.demo

import android.os.Bundle

/** Keeps what survives the process, in Android's own bundle. */
internal fun Remembered.save(to: Bundle) {
    to.putString("bundle", bundle)
    to.putStringArray("tasks", weights?.keys?.toTypedArray())
    to.putFloatArray("weights", weights?.values?.toFloatArray())
    to.putString("prompt", prompt)
    to.putBoolean("chat", chat)
    to.putString("system", talk.system)
    to.putBoolean("drops", talk.drops)
    to.putStringArray("messages", talk.messages.map { it.content }.toTypedArray())
}

/** The same, back. */
internal fun remembered(saved: Bundle): Remembered {
    val weights = saved.getFloatArray("weights")?.toList()
    val turns = saved.getStringArray("messages").orEmpty().toList()
        .chunked(2) { (message, answer) -> Turn(message, answer) }
    return Remembered(
        saved.getString("bundle"),
        weights?.let { saved.getStringArray("tasks").orEmpty().zip(it).toMap() },
        saved.getString("prompt").orEmpty(),
        saved.getBoolean("chat"),
        Talk(
            system = saved.getString("system").orEmpty(),
            turns = turns,
            drops = saved.getBoolean("drops")
        )
    )
}
