package io.hydraopt.demo

import io.hydraopt.BundleException
import io.hydraopt.ContextFullException
import io.hydraopt.TaskException
import io.hydraopt.UsageException
import java.io.IOException
import org.junit.Assert.assertEquals
import org.junit.Test

/** What helps against errors that the presenter’s tests do not cause. */
class ProblemTest {
    @Test
    fun theRemedyIsOfTheErrorAndOfWhatWasDone() {
        val cases = listOf(
            remedy(OutOfMemoryError(), Work.ANSWERING) to Remedy.SMALLER_BUNDLE,
            remedy(BundleException("no tokenizer"), Work.ANSWERING) to Remedy.OTHER_BUNDLE,
            remedy(ContextFullException("full"), Work.ANSWERING) to Remedy.OTHER_PROMPT,
            remedy(TaskException("no task"), Work.OPENING) to Remedy.OTHER_BUNDLE,
            remedy(TaskException("cannot be mixed"), Work.MIXING) to Remedy.ONE_TASK,
            remedy(BundleException("a pack is damaged"), Work.MIXING) to Remedy.OTHER_TASK,
            remedy(TaskException("too wide"), Work.LOOKING) to Remedy.OTHER_PICTURE,
            remedy(IOException("no picture"), Work.LOOKING) to Remedy.OTHER_PICTURE,
            remedy(UsageException("closed"), Work.ANSWERING) to Remedy.TRY_AGAIN
        )
        for ((found, expected) in cases) assertEquals(expected, found)
    }
}
