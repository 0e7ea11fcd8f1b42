package io.hydraopt.demo

import io.hydraopt.BundleException
import io.hydraopt.ContextFullException
import io.hydraopt.MemoryException
import io.hydraopt.OutputException
import io.hydraopt.TaskException
import java.io.IOException

/** What the user can do about an error. */
enum class Remedy {
    OTHER_BUNDLE,
    PICK_AGAIN,
    OTHER_TASK,
    ONE_TASK,
    OTHER_PROMPT,
    OTHER_PICTURE,
    OPEN_ALL_THE_SAME,
    SMALLER_BUNDLE,
    FREE_SPACE,
    OTHER_WAY,
    TRY_AGAIN
}

/**
 * An error as the user is told it; the log has what a developer needs.
 *
 * @property name the bundle or task that it is about.
 */
data class Problem(val remedy: Remedy, val name: String = "")

/** What helps against an error of the library, or of memory, in the course of [work]. */
internal fun remedy(error: Throwable, work: Work): Remedy = when (error) {
    is MemoryException -> Remedy.OPEN_ALL_THE_SAME
    is OutOfMemoryError -> Remedy.SMALLER_BUNDLE
    is OutputException -> Remedy.FREE_SPACE
    is BundleException, is TaskException, is ContextFullException -> when (work) {
        Work.COPYING -> Remedy.PICK_AGAIN
        Work.SWITCHING -> Remedy.OTHER_TASK
        Work.MIXING -> if (error is BundleException) Remedy.OTHER_TASK else Remedy.ONE_TASK
        Work.ANSWERING -> if (error is BundleException) Remedy.OTHER_BUNDLE else Remedy.OTHER_PROMPT
        Work.LOOKING -> if (error is BundleException) Remedy.OTHER_BUNDLE else Remedy.OTHER_PICTURE
        Work.OPENING, Work.NONE -> Remedy.OTHER_BUNDLE
    }
    is IOException -> Remedy.OTHER_PICTURE
    else -> Remedy.TRY_AGAIN
}
