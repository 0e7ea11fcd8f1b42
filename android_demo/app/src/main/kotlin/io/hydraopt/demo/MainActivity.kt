package io.hydraopt.demo

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.os.Bundle
import android.os.Handler
import android.os.Looper
import android.util.Log
import io.hydraopt.AssetSource
import java.io.File

/** The one screen of the app. */
class MainActivity : Activity() {
    private lateinit var presenter: Presenter
    private lateinit var screen: Screen

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        // As a ViewModel of AndroidX does: it goes on when the screen is made anew.
        @Suppress("DEPRECATION")
        val kept = lastNonConfigurationInstance as Presenter?
        presenter = kept ?: newPresenter().apply { start(savedInstanceState?.let(::remembered)) }
        setContentView(R.layout.main)
        screen = Screen(this, presenter, ::pickDirectory)
        presenter.view = screen::render
    }

    private fun newPresenter(): Presenter {
        val main = Handler(Looper.getMainLooper())
        val shelf = Shelf(File(filesDir, BUNDLES), getExternalFilesDir(BUNDLES), cacheDir) {
            AssetSource(assets, BUNDLES).children.orEmpty()
        }
        return Presenter(shelf, { main.post(it) }, log = { Log.w(TAG, it.message, it) })
    }

    @Deprecated("Of the platform, whose newer ways are AndroidX's")
    override fun onRetainNonConfigurationInstance(): Any = presenter

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        val remembered = presenter.remembered()
        outState.putString("bundle", remembered.bundle)
        outState.putString("task", remembered.task)
        outState.putString("prompt", remembered.prompt)
    }

    private fun remembered(saved: Bundle) = Remembered(
        saved.getString("bundle"),
        saved.getString("task"),
        saved.getString("prompt").orEmpty()
    )

    override fun onDestroy() {
        presenter.view = null
        screen.close()
        if (!isChangingConfigurations) presenter.close()
        super.onDestroy()
    }

    private fun pickDirectory() {
        presenter.choose(null)
        try {
            startActivityForResult(Intent(Intent.ACTION_OPEN_DOCUMENT_TREE), PICK)
        } catch (_: ActivityNotFoundException) {
            presenter.fail(Problem(Remedy.OTHER_WAY))
        }
    }

    @Deprecated("Of the platform, whose newer ways are AndroidX's")
    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val tree = data?.data
        if (requestCode == PICK && resultCode == RESULT_OK && tree != null) {
            presenter.open(Foreign(DocumentSource.of(contentResolver, tree), picked = true))
        }
    }

    private companion object {
        const val BUNDLES = "bundles"
        const val PICK = 1
        const val TAG = "hydraopt" // adb logcat -s hydraopt
    }
}
