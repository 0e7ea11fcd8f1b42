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
        screen = Screen(this, presenter, ::pickDirectory, ::pickPicture)
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
        presenter.remembered().save(outState)
    }

    override fun onDestroy() {
        presenter.view = null
        screen.close()
        if (!isChangingConfigurations) presenter.close()
        super.onDestroy()
    }

    private fun pickDirectory() {
        presenter.choose(null)
        pick(Intent(Intent.ACTION_OPEN_DOCUMENT_TREE), DIRECTORY)
    }

    private fun pickPicture() {
        val asked = Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE)
        pick(asked.setType("image/*"), PICTURE)
    }

    private fun pick(asked: Intent, request: Int) {
        try {
            startActivityForResult(asked, request)
        } catch (_: ActivityNotFoundException) {
            presenter.fail(Problem(Remedy.OTHER_WAY))
        }
    }

    @Deprecated("Of the platform, whose newer ways are AndroidX's")
    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val picked = data?.data
        if (resultCode != RESULT_OK || picked == null) return
        when (requestCode) {
            DIRECTORY ->
                presenter.open(Foreign(DocumentSource.of(contentResolver, picked), picked = true))
            PICTURE -> presenter.look(DocumentPhoto(applicationContext.contentResolver, picked))
        }
    }

    private companion object {
        const val BUNDLES = "bundles"
        const val DIRECTORY = 1
        const val PICTURE = 2
        const val TAG = "hydraopt" // adb logcat -s hydraopt
    }
}
