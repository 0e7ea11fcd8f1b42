package io.hydraopt.demo

import io.hydraopt.BundleException
import io.hydraopt.ContextFullException
import io.hydraopt.TaskException
import io.hydraopt.UsageException
import org.junit.Assert.assertEquals
import org.junit.Test

/** What helps against errors that PresenterTest does not cause. */
class ProblemTest {
    @Test
    fun theRemedyIsOfTheErrorAndOfWhatWasDone() {
        val cases = listOf(
            remedy(OutOfMemoryError(), Work.ANSWERING) to Remedy.SMALLER_BUNDLE,
            remedy(BundleException("no tokenizer"), Work.ANSWERING) to Remedy.OTHER_BUNDLE,
            remedy(ContextFullException("full"), Work.ANSWERING) to Remedy.OTHER_PROMPT,
            remedy(TaskException("no task"), Work.OPENING) to Remedy.OTHER_BUNDLE,
            remedy(UsageException("closed"), Work.ANSWERING) to Remedy.TRY_AGAIN
        )
        for ((found, expected) in cases) assertEquals(expected, found)
    }
}
